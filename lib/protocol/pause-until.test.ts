import { describe, expect, it } from "vitest";
import { pauseUntil } from "./pause-until.ts";

/** Keeps the event loop from looking at the clock. */
function compute(forMs: number): void {
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs);
}

describe("a pause until a time", () => {
  it("does not end before it, though the event loop's clock is behind", async () => {
    compute(23);
    const dueMs = performance.now() + 30;
    await pauseUntil(dueMs);
    expect(performance.now()).toBeGreaterThanOrEqual(dueMs);
  });

  it("ends when it is broken off, or was before", async () => {
    const abort = new AbortController();
    const pause = pauseUntil(Infinity, abort.signal);
    abort.abort();
    await pause;
    await pauseUntil(Infinity, abort.signal);
  });
});
