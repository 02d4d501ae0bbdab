import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { withExamples } from "./examples.ts";

const folder = join(import.meta.dirname, "examples");
const page = readFileSync(join(import.meta.dirname, "protocol-client.md"), "utf8");

describe("examples in pages", () => {
  it("are all there, each as in its file, for somebody who has installed the package", () => {
    const blocks = [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, text = ""]) => text);
    const files = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
    const installed = files.map((text) =>
      text.replace("../../lib/protocol/index.ts", "tcp-failure-lab/protocol"),
    );
    expect(blocks.sort()).toEqual(installed.sort());
    expect(page).not.toContain("../../lib");
  });

  it("stay as they are when nothing has changed, and change nothing else", () => {
    const stale = page.replaceAll(/^await using .*$/gm, "// old");
    expect(stale).not.toBe(page);
    // `make docs` lays it out afterwards: blank lines do not count.
    const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");
    expect(lines(withExamples(stale, folder))).toEqual(lines(page));
  });
});
