import { describe, expect, it } from "vitest";
import { Pace } from "./pace.ts";

const never = new AbortController().signal;

/** When each of so many turns came, in milliseconds after the first. */
async function turns(pace: Pace, count: number): Promise<number[]> {
  const startMs = performance.now();
  return Promise.all(
    Array.from({ length: count }, () => pace.turn(never).then(() => performance.now() - startMs)),
  );
}

describe("a pace", () => {
  it("gives turns in order, none before its time, and makes up for a little lateness", async () => {
    const times = await turns(new Pace(500), 23);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    for (const [index, atMs] of times.entries()) expect(atMs).toBeGreaterThanOrEqual(index * 2);
  });

  it("makes up for no more than a tenth of a second, however long the process stood still", async () => {
    const pace = new Pace(100);
    await pace.turn(never);
    const waiting = turns(pace, 50);
    const endMs = performance.now() + 1_000;
    while (performance.now() < endMs);
    const late = (await waiting).map((atMs) => atMs - 1_000);
    expect(late.filter((atMs) => atMs < 100).length).toBeLessThanOrEqual(1 + 10 + 10);
  });

  it("lets everybody go when the signal aborts", async () => {
    const control = new AbortController();
    const pace = new Pace(0.001);
    const waiting = Array.from({ length: 23 }, () => pace.turn(control.signal));
    control.abort();
    await Promise.all(waiting);
  });
});
