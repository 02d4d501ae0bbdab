import { describe, expect, it } from "vitest";
import { type Contest, type Contestant } from "./contest.ts";
import { measure } from "./measure.ts";
import { hasFailed } from "./rounds.ts";
import { contestTable } from "./table.ts";

const missing: Contestant = {
  needs: [{ file: "no-such-compiler", package: "gcc" }],
  run: () => Promise.reject(new Error("it cannot run")),
};
const contest: Contest = {
  name: "some",
  load: { full: 23, quick: 1 },
  runs: 1,
  contestants: { ours: missing, peer: missing },
  lines: [
    {
      what: "echoes",
      unit: "1/s",
      better: "more",
      ours: ["ours", "perSecond"],
      peer: { name: "C", source: ["peer", "perSecond"] },
      reach: { ratio: 0.6 },
      limit: "",
    },
  ],
};

const effort = {
  ...{ isQuick: false, runs: undefined, withGrowth: false, say: () => undefined },
  signal: new AbortController().signal,
};

describe("a measurement that is broken off", () => {
  it("has no lines, not those of half the runs", async () => {
    const runnable = { ...contest, contestants: { ours: { run: missing.run }, peer: missing } };
    const measured = measure([runnable], { ...effort, signal: AbortSignal.abort() });
    await expect(measured).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("a contestant that fails", () => {
  it("costs its own lines, which say why, and no others", async () => {
    // Nobody has told the arena of this contest, so it fails in there.
    const { lines } = await measure(
      [{ ...contest, contestants: { ours: { run: missing.run } } }],
      effort,
    );
    expect(lines).toMatchObject([
      { what: "echoes", missing: expect.stringMatching(/^failed: /) as unknown },
    ]);
    expect(lines.map(hasFailed)).toEqual([true]);
  });
});

describe("a line whose own contestant lacks a tool", () => {
  it("is there, names the tool and its package, and judges nothing", async () => {
    const { lines } = await measure([contest], effort);
    expect(lines).toMatchObject([
      { what: "echoes", missing: "no no-such-compiler (package gcc)", reach: { ratio: 0.6 } },
    ]);
    expect(lines.map(hasFailed)).toEqual([false]);
    expect(lines[0]).not.toHaveProperty("ours");
    expect(lines[0]?.reach).not.toHaveProperty("isReached");
    const table = contestTable(lines).replaceAll(/\s+/g, " ");
    expect(table.match(/no-such-compiler/g)).toHaveLength(1);
  });
});
