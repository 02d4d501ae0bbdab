import { describe, expect, it } from "vitest";
import { pauseUntil } from "./pause-until.ts";

describe("a pause until a time", () => {
  it("does not end before it, not by a part of a millisecond either", async () => {
    for (let n = 0; n < 23; n += 1) {
      const dueMs = performance.now() + 2;
      await pauseUntil(dueMs);
      expect(performance.now()).toBeGreaterThanOrEqual(dueMs);
    }
  });

  it("ends when it is broken off, or was before", async () => {
    const abort = new AbortController();
    const pause = pauseUntil(Infinity, abort.signal);
    abort.abort();
    await pause;
    await pauseUntil(Infinity, abort.signal);
  });
});
