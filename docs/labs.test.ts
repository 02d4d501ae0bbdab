import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ARM_KINDS } from "../lib/lab/define.ts";
import { loadLabs } from "../lib/lab/load.ts";
import { armHeading, theme } from "../lib/report/lab-report.ts";

const KIND = new RegExp(`^(?:${ARM_KINDS.join("|")}) `);

describe("the recorded run of a lab", () => {
  it("has the arms that the lab has today, in their order", async () => {
    for (const lab of await loadLabs()) {
      const record = readFileSync(new URL(`labs/runs/${lab.name}.txt`, import.meta.url), "utf8");
      const headings = record
        .split("\n")
        .flatMap((line, index, lines) =>
          KIND.test(line) ? [lines.slice(index, index + 4).join("\n")] : [],
        );
      const expected = lab.arms.map((arm) => armHeading(arm, theme(false)));
      expect(headings, lab.name).toHaveLength(expected.length);
      for (const [index, heading] of expected.entries())
        expect(headings[index]?.startsWith(`${heading}\n`), `${lab.name}: ${heading}`).toBe(true);
    }
  });
});
