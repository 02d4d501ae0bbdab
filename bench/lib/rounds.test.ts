import { describe, expect, it } from "vitest";
import { failure, hasFailed, ratios, valuesOf, whyNoMedian, worstOf } from "./rounds.ts";
import { spread } from "./statistics.ts";
import { contestTable } from "./table.ts";

const overtaken = { missing: "not full in time" };
const took = (...seconds: readonly number[]) => seconds.map((value) => ({ seconds: value }));

function secondsOf(outcomes: Parameters<typeof valuesOf>[0]): readonly (number | undefined)[] {
  const values = valuesOf(outcomes, "seconds");
  if (typeof values === "string") throw new Error(values);
  return values;
}

describe("a round in which nothing was measured, though nothing broke", () => {
  it("counts as slower than all others, so the median of the others and it is exact", () => {
    const values = secondsOf([...took(41, 57), overtaken, ...took(59, 43)]);
    expect(spread(values, worstOf("less"))).toEqual({ median: 57, min: 41, max: 59, without: 1 });
  });

  it("is not taken for one that has measured 0", () => {
    const values = secondsOf(took(0, 23, 0));
    expect(spread(values, worstOf("more"))).toEqual({ median: 0, min: 0, max: 23 });
  });

  it("is told in the table", () => {
    const ours = { median: 57, min: 41, max: 59, without: 1 };
    const what = { contest: "fill", what: "full", unit: "s", better: "less", limit: "" } as const;
    const table = contestTable([{ ...what, runs: 5, ours }]).replaceAll(/\s+/g, " ");
    expect(table).toContain("57.0 s (41.0 s to 59.0 s; 1 without)");
  });

  it("is the worst of the ratios, or the best where the peer has none; where both have none it is none", () => {
    const ours = secondsOf([...took(2, 2), overtaken, overtaken, ...took(2)]);
    const theirs = secondsOf([...took(50), overtaken, ...took(40), overtaken, ...took(46)]);
    expect(ratios("less", ours, theirs)).toEqual([25, Infinity, 0, 23]);
  });

  it("costs the median when the others are no majority, and then there is no need for more rounds", () => {
    expect(valuesOf([...took(41, 57), overtaken, overtaken], "seconds")).toBe(overtaken.missing);
    expect(whyNoMedian([overtaken, overtaken], 5)).toBeUndefined();
    expect(whyNoMedian([overtaken, overtaken, overtaken], 5)).toBe(overtaken.missing);
  });
});

describe("a round that failed", () => {
  it("costs the median, whatever the others have measured", () => {
    const values = valuesOf([...took(41, 57), { missing: failure("killed") }], "seconds");
    expect(values).toBe("failed: killed");
    expect(hasFailed({ missing: "failed: killed" })).toBe(true);
    expect(hasFailed(overtaken)).toBe(false);
  });

  it("is also one that has no such figure", () => {
    expect(valuesOf(took(41), "minutes")).toBe("failed: there is no figure minutes");
  });
});
