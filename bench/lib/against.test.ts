import { describe, expect, it } from "vitest";
import { compareRatios } from "./against.ts";
import type { Measured } from "./measure.ts";

const line = (what: string, ratio: number | undefined, name = "peer"): Measured => {
  const spread = { median: 1, min: 1, max: 1 };
  const base = { contest: "some", what, unit: "1/s", better: "more", runs: 1, limit: "" } as const;
  const peer = { ...spread, name };
  return { ...base, ours: spread, peer, ...(ratio === undefined ? {} : { ratio }) };
};

describe("ratios of two runs", () => {
  it("are the same within 15 %, in both directions", () => {
    const then = [line("a", 1), line("b", 1), line("c", 1), line("d", 1)];
    const now = [line("a", 1.14), line("b", 0.86), line("c", 1.16), line("d", 0.84)];
    expect(compareRatios(now, then).map(({ isSame }) => isSame)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it("belong together by name and peer; what is new is left out", () => {
    const then = [line("the same", 1, "C"), line("the same", 2, "redis")];
    const now = [line("the same", 2, "redis"), line("the same", 1, "C"), line("new", 1)];
    expect(compareRatios(now, then)).toMatchObject([
      { peer: "C", change: 0 },
      { peer: "redis", change: 0 },
    ]);
  });

  it("come with what has become of the peer alone: that is the machine's doing", () => {
    const slower = { ...line("a", 1), peer: { name: "peer", median: 1.5, min: 1, max: 2 } };
    expect(compareRatios([slower], [line("a", 1)])).toMatchObject([{ change: 0, peerChange: 0.5 }]);
  });

  it("are left out where neither program is ours", () => {
    const floor = { ...line("the floor", undefined), isFloor: true };
    expect(compareRatios([floor], [line("the floor", 1.23)])).toEqual([]);
  });

  it("are not the same where one was not measured now, unless its contest was not held", () => {
    const then = [line("lost", 1), { ...line("elsewhere", 1), contest: "another" }];
    expect(compareRatios([line("lost", undefined)], then)).toMatchObject([
      { what: "lost", then: 1, now: undefined, isSame: false },
    ]);
  });
});
