import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isResult, resultsIn } from "./result.ts";

const RECORDS = join(import.meta.dirname, "../../docs/benchmarks");
const line = { contest: "some", what: "echoes", ratio: 1 };
const result = { version: 1, date: "2026-11-22T04:46:00.000Z", lines: [line] };

describe("what a run is compared with", () => {
  it("is what an earlier run has printed", () => {
    expect(isResult(result)).toBe(true);
  });

  it("is each of the recordings, the newest first", () => {
    const dates = resultsIn(RECORDS).map(({ date }) => date);
    expect(dates.length).toBeGreaterThan(0);
    expect(dates).toEqual([...dates].sort().reverse());
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
