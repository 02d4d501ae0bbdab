import { describe, expect, it } from "vitest";
import { compareRatios, compareWithNearest, peersApart } from "./against.ts";
import type { Measured } from "./measure.ts";
import type { BenchResult } from "./result.ts";

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

  it("are left out, and named, where nothing of that name is measured any more", () => {
    const machine = { kernel: "6.18", node: "v20", cpus: 2, model: "some", memoryBytes: 1 };
    const lines = [line("12 s later", 1), line("a", 1), { ...line("b", 1), contest: "another" }];
    const then = { version: 1, date: "2026-11-22", machine, lines, growth: [] } as const;
    expect(compareWithNearest([line("20 s later", 1), line("a", 1)], [then])).toMatchObject({
      ratios: [{ what: "a", isSame: true }],
      gone: ["12 s later"],
    });
  });

  it("are not the same where one was not measured now, unless its contest was not held", () => {
    const then = [line("lost", 1), { ...line("elsewhere", 1), contest: "another" }];
    expect(compareRatios([line("lost", undefined)], then)).toMatchObject([
      { what: "lost", then: 1, now: undefined, isSame: false },
    ]);
  });
});

describe("the run to compare with", () => {
  const withPeer = (median: number, ratio: number): Measured => {
    return { ...line("a", ratio), peer: { name: "peer", median, min: median, max: median } };
  };
  const run = (date: string, lines: readonly Measured[]): BenchResult => {
    const machine = { kernel: "6.18", node: "v20", cpus: 2, model: "some", memoryBytes: 1 };
    return { version: 1, date, machine, lines, growth: [] };
  };

  it("is the one whose peers are nearest, even where its ratios are not", () => {
    const [far, near] = [
      run("2026-11-22", [withPeer(3, 1)]),
      run("2026-11-21", [withPeer(1.1, 2)]),
    ];
    expect(compareWithNearest([withPeer(1, 1)], [far, near])).toMatchObject({
      date: "2026-11-21",
      others: [{ date: "2026-11-22", peersApart: 2 }],
      ratios: [{ change: -0.5, isSame: false }],
    });
  });

  it("is one that shares a peer, before one that shares none", () => {
    const [none, some] = [run("2026-11-22", [line("b", 1)]), run("2026-11-21", [withPeer(9, 1)])];
    expect(compareWithNearest([withPeer(1, 1)], [none, some]).date).toBe("2026-11-21");
  });

  it("is as far away in both directions: a third of the speed as three times", () => {
    expect(peersApart([withPeer(3, 1)], [withPeer(1, 1)])).toBeCloseTo(2);
    expect(peersApart([withPeer(1, 1)], [withPeer(3, 1)])).toBeCloseTo(2);
    expect(peersApart([withPeer(1, 1)], [line("b", 1)])).toBe(Infinity);
  });
});
