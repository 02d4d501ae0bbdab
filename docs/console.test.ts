import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  diagramsOf,
  sessionsOf,
  sessionText,
  withDiagrams,
  withOutputs,
  type Step,
} from "./console.ts";

const DOCUMENT = `# A page

\`\`\`console
$ server &
$ for port in 1 2; do
>   echo $port
> done # exit 0
1
2
$ client # exit 1
\`\`\`

\`\`\`sh
$ this is no session
\`\`\`

\`\`\`console
$ states
\`\`\`
`;

describe("documents whose commands are run", () => {
  it("have sessions of commands, some of several lines, and what they printed", () => {
    expect(sessionsOf(DOCUMENT)).toEqual([
      [
        { command: "server &", output: "" },
        { command: "for port in 1 2; do\n  echo $port\ndone # exit 0", output: "1\n2" },
        { command: "client # exit 1", output: "" },
      ],
      [{ command: "states", output: "" }],
    ]);
  });

  it("stay as they are when the outputs are the same, and change nowhere else when they are not", () => {
    const sessions = sessionsOf(DOCUMENT);
    expect(withOutputs(DOCUMENT, sessions)).toBe(DOCUMENT);
    const changed = sessions.map((steps) => steps.map((step) => ({ ...step, output: "new" })));
    const text = withOutputs(DOCUMENT, changed);
    expect(sessionsOf(text)).toEqual(changed);
    expect(text).toContain("$ this is no session");
  });

  it("have slow sessions that are only run to be recorded", () => {
    const slow = "```console slow\n$ sleep 60\n```\n";
    expect(sessionsOf(slow, false)).toEqual([]);
    const [session] = sessionsOf(slow);
    expect(session).toEqual([{ command: "sleep 60", output: "" }]);
    expect(withOutputs(slow, [[{ command: "sleep 60", output: "done" }]])).toBe(
      "```console slow\n$ sleep 60\ndone\n```\n",
    );
  });

  it("have diagrams, each below the command that prints it", () => {
    const page = "<!-- $ draw -->\n\n```mermaid\nold\n```\n\n```mermaid\nby hand\n```\n";
    expect(diagramsOf(page)).toEqual([{ command: "draw", output: "" }]);
    expect(withDiagrams(page, [{ command: "draw", output: "new" }])).toBe(
      page.replace("old", "new"),
    );
  });

  it("read back what they were made of, whatever was printed", () => {
    const line = fc.stringMatching(/^[ -~]{0,40}$/).filter((text) => !/^(\$ |> |```)/.test(text));
    const output = fc
      .array(line, { maxLength: 4 })
      .map((lines) => lines.join("\n").trimEnd())
      .filter((text) => !text.startsWith("\n") && !text.startsWith("> "));
    const command = fc.stringMatching(/^[a-z][ -~]{0,30}[a-z]$/);
    const steps = fc.array(fc.record({ command, output }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(steps, (session: readonly Step[]) => {
        const page = `\`\`\`console\n${sessionText(session)}\n\`\`\`\n`;
        expect(sessionsOf(page)).toEqual([session]);
      }),
    );
  });
});
