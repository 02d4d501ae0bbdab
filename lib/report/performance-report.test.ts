import { describe, expect, it } from "vitest";
import type { PerformanceResult } from "../programs/performance.ts";
import { performanceOpening, performanceReport, progressBar } from "./performance-report.ts";

const RESULT: PerformanceResult = {
  ...{ connections: 23, inFlight: 4, contentBytes: 1_000, ratePerSecond: 0, durationMs: 2_000 },
  ...{ answered: 10_000, perSecond: 5_000, failed: {}, lost: {}, wrong: 0, clientCpu: 0.5 },
  ...{ sent: 12_000, unsent: 0, serverCounted: 12_000 },
  latencyMs: { min: 0.1, mean: 0.5, p50: 0.4, p90: 0.9, p99: 1.5, p999: 12_345, max: 12_346 },
};

/** The report with its lines joined, as far as they are no new row. */
const report = (more: Partial<PerformanceResult>): string =>
  performanceReport({ ...RESULT, ...more }).replaceAll(/\n {12}(?!min)/g, " ");

describe("a measurement as text", () => {
  it("never takes more than 80 columns, whatever a server calls its errors", () => {
    const failed = Object.fromEntries(
      Array.from({ length: 23 }, (_, index) => [`CODE_${index}\u001B[2J`, 1_000_000]),
    );
    const text = performanceReport({ ...RESULT, failed, lost: failed, serverCounted: 9_999_999 });
    expect(text.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(text).not.toContain("\u001B");
  });

  it("says which of the two counts is the higher one", () => {
    expect(report({})).toContain("checked     the server counted the same 12,000 requests");
    expect(report({ serverCounted: 12_001 })).toContain("others talk to it, too");
    expect(report({ serverCounted: 11_999 })).toContain("the rest did not arrive");
    expect(report({ serverCounted: undefined })).toContain("checked     no: ");
  });

  it("warns when the client may be the limit, when lanes wait, and when a rate was not reached", () => {
    expect(report({})).not.toContain("may be the limit");
    expect(report({ clientCpu: 0.95 })).toContain("it may be the limit");
    expect(report({})).toContain("a server that stalls is asked less");
    const rate = report({ ratePerSecond: 5_000 });
    expect(rate).toContain("count from when a request was due");
    expect(rate).not.toMatch(/stalls|not reached/);
    expect(report({ ratePerSecond: 9_000, unsent: 4_000 })).toContain("4,000 requests were due");
  });

  it("has a row for what came back, in bytes, and one for each kind of latency", () => {
    expect(report({})).toContain("contents    4.8 MiB/s in each direction");
    expect(report({ contentBytes: 0 })).not.toContain("contents");
    expect(report({})).toMatch(/^latency .*p50 0\.4 ms.*p99 1\.5 ms/m);
  });

  it("has no figures when nothing was answered", () => {
    const text = report({ answered: 0, perSecond: 0, latencyMs: undefined, wrong: 2 });
    expect(text).toMatch(/^answered {4}0$/m);
    expect(text).toMatch(/^wrong {7}2 answers/m);
    expect(text).not.toMatch(/^(latency|contents)/m);
  });

  it("begins with a line, and a bar that fills", () => {
    const load = { ...RESULT, warmupMs: 1_000, openPerSecond: Infinity };
    expect(performanceOpening("127.0.0.1:9999", load)).toBe(
      "client: 23 to 127.0.0.1:9999: warm-up 1,000 ms, then 2,000 ms. Ctrl-C to stop.",
    );
    expect(performanceOpening("h", { ...load, openPerSecond: 100 })).toContain("100 new ones per");
    expect(progressBar({ share: 0.5, answered: 1_234, perSecond: 99.6 })).toBe(
      "[############............]  50 %  1,234 answered  100/s",
    );
  });
});
