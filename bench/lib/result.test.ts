import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isResult } from "./result.ts";

const RECORD = join(import.meta.dirname, "../../docs/benchmarks.json");
const line = { contest: "some", what: "echoes", ratio: 1 };
const result = { version: 1, date: "2026-11-22T04:46:00.000Z", lines: [line] };

describe("what a run is compared with", () => {
  it("is what an earlier run has printed", () => {
    expect(isResult(result)).toBe(true);
    expect(isResult(JSON.parse(readFileSync(RECORD, "utf8")))).toBe(true);
  });

  it.each([
    [null],
    [[]],
    [{ ...result, version: 2 }],
    [{ ...result, date: undefined }],
    [{ ...result, lines: [null] }],
    [{ ...result, lines: [1] }],
    [{ ...result, lines: [{ ...line, ratio: null }] }],
    [{ ...result, lines: [{ ...line, ratio: "0.75" }] }],
    [{ ...result, lines: [{ ...line, what: 23 }] }],
  ])("is nothing else, be it as near as %j", (value) => {
    expect(isResult(value)).toBe(false);
  });
});
