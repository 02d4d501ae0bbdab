/**
 * console: runs the commands that stand in documents.
 *
 * A block marked `console` is a session: lines with `$ ` are commands (`> ` goes on with one), all others what they printed. Each
 * session runs in a private network of its own, as in `make shell`; what goes to stderr (progress, and how to stop) is left out. `--record` writes what was printed into the documents; without it
 * the commands are only run, and one that does not end as it says (0, or the N of a trailing `# exit N`) is an error. What takes
 * a minute is marked `console slow` and run only to be recorded. A diagram stands below the command that prints it:
 *
 *     <!-- $ trace --mermaid -->
 *
 *     node dist/docs/console.js [--record] docs/concepts/*.md
 */
import { execa } from "execa";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A command and what it printed, both without a newline at their ends. */
export type Step = { readonly command: string; readonly output: string };

const BLOCK = /^```console( slow)?\n([^]*?)^```$/gm;
const DIAGRAM = /^<!-- \$ (.+) -->\n+```mermaid\n[^]*?^```$/gm;
/** Between the outputs of two commands; the exit code of the one before stands after it. */
const MARK = "\x1e";
const TIME_LIMIT_MS = 90_000;

/** The sessions of a document, those marked as slow only when asked for. */
export function sessionsOf(markdown: string, withSlow = true): readonly (readonly Step[])[] {
  return [...markdown.matchAll(BLOCK)]
    .filter(([, slow]) => withSlow || slow === undefined)
    .map(([, , text = ""]) => stepsOf(text));
}

function stepsOf(text: string): readonly Step[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const lines = part.trimEnd().split("\n");
      const more = lines.slice(1).findIndex((line) => !line.startsWith("> "));
      const end = more === -1 ? lines.length : more + 1;
      const command = [lines[0], ...lines.slice(1, end).map((line) => line.slice(2))].join("\n");
      return { command, output: lines.slice(end).join("\n") };
    });
}

/** The document with other outputs in its sessions. */
export function withOutputs(markdown: string, sessions: readonly (readonly Step[])[]): string {
  let next = 0;
  return markdown.replace(BLOCK, (_, slow = "") => {
    const steps = sessions[next++] ?? [];
    return `\`\`\`console${slow}\n${sessionText(steps)}\n\`\`\``;
  });
}

/** The commands that print the diagrams of a document. */
export function diagramsOf(markdown: string): readonly Step[] {
  return [...markdown.matchAll(DIAGRAM)].map(([, command = ""]) => ({ command, output: "" }));
}

/** The document with other diagrams. */
export function withDiagrams(markdown: string, diagrams: readonly Step[]): string {
  let next = 0;
  return markdown.replace(DIAGRAM, (_, command: string) => {
    const { output = "" } = diagrams[next++] ?? {};
    return `<!-- $ ${command} -->\n\n\`\`\`mermaid\n${output}\n\`\`\``;
  });
}

/** Commands and outputs as a terminal shows them. */
export function sessionText(steps: readonly Step[]): string {
  const text = steps.map(({ command, output }) => {
    const shown = `$ ${command.replaceAll("\n", "\n> ")}`;
    return output === "" ? shown : `${shown}\n${output}`;
  });
  return text.join("\n");
}

/** Runs a session in a network of its own; throws when a command does not end as it says. */
export async function runSession(steps: readonly Step[]): Promise<readonly Step[]> {
  const lab = join(import.meta.dirname, "../cmd/lab.js");
  const script = steps.map(({ command }) => scriptOf(command)).join("\n");
  const { stdout, stderr } = await execa(
    process.execPath,
    [lab, "shell", "--alone", "--", "bash", "-c", script],
    {
      stdin: "ignore",
      reject: false,
      timeout: TIME_LIMIT_MS,
      env: { COLUMNS: "100" },
    },
  );
  const parts = stdout.split(MARK);
  return steps.map(({ command }, index) => {
    const part = parts[index] ?? "";
    const output = (index === 0 ? part : part.slice(part.indexOf("\n") + 1))
      .replaceAll(/ +$/gm, "")
      .trimEnd();
    const code = Number(/^\d+/.exec(parts[index + 1] ?? "")?.[0] ?? NaN);
    const expected = Number(/# exit (\d+)$/.exec(command)?.[1] ?? 0);
    if (code !== expected)
      throw new Error(`$ ${command}\n${output}\n${stderr}\nends with ${code}, not ${expected}`);
    return { command, output };
  });
}

/** A program in the background is quiet, and given time until its sockets show. */
function scriptOf(command: string): string {
  const isBackground = /&\s*$/.test(command);
  if (!isBackground) return `${command}\nprintf '${MARK}%d\\n' $?`;
  return [
    "before=$(cat /proc/net/tcp /proc/net/udp)",
    command.replace(/&\s*$/, "> /dev/null 2>&1 &"),
    'for _ in {1..50}; do [ "$(cat /proc/net/tcp /proc/net/udp)" = "$before" ] || break; sleep 0.1; done',
    `sleep 0.3; printf '${MARK}0\\n'`,
  ].join("\n");
}

async function main(words: readonly string[]): Promise<void> {
  const isRecording = words.includes("--record");
  for (const file of words.filter((word) => word !== "--record")) {
    const markdown = readFileSync(file, "utf8");
    const sessions = await inPairs(sessionsOf(markdown, isRecording));
    const diagrams = await inPairs(diagramsOf(markdown).map((step) => [step]));
    const ran = sessions.flat().length + diagrams.length;
    process.stderr.write(`${file}: ${ran} commands ran\n`);
    if (isRecording)
      writeFileSync(file, withDiagrams(withOutputs(markdown, sessions), diagrams.flat()));
  }
}

/** Two at a time: most of them wait most of the time. */
async function inPairs(sessions: readonly (readonly Step[])[]): Promise<(readonly Step[])[]> {
  const done = [];
  for (let index = 0; index < sessions.length; index += 2)
    done.push(...(await Promise.all(sessions.slice(index, index + 2).map(runSession))));
  return done;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
