/** pause-until: waits for a time, and never ends before it. */
import { setTimeout as pause } from "node:timers/promises";

/** The longest time of a timer; a longer one becomes 1 ms. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Resolves once performance.now() is at least `dueMs`, or when `signal` aborts. A timer alone may be almost a millisecond early, for it
 * counts whole ones: the clock of the event loop has no others (uv_now() of libuv).
 */
export async function pauseUntil(dueMs: number, signal?: AbortSignal): Promise<void> {
  const options = signal === undefined ? {} : { signal };
  for (;;) {
    const restMs = dueMs - performance.now();
    if (restMs <= 0 || signal?.aborted === true) return;
    await pause(Math.min(restMs, MAX_TIMER_MS), undefined, options).catch(() => undefined);
  }
}
