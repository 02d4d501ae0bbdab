/** pace: so many per second, evenly. */
import { pauseUntil } from "./pause-until.ts";

/** What is later than this is not made up for: a peer is never met with all that a stopped process, or a lost SYN, has held up. */
const MOST_BEHIND_MS = 100;

/** Gives turns, at most so many per second. */
export class Pace {
  readonly #stepMs: number;
  #dueMs: number | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(perSecond: number) {
    this.#stepMs = 1_000 / perSecond;
  }

  /** Resolves when it is the caller's turn, in the order of the calls, or when `signal` aborts. The first turn is at once. */
  turn(signal: AbortSignal): Promise<void> {
    this.#last = this.#last.then(() => {
      const now = performance.now();
      const next = this.#dueMs === undefined ? now : this.#dueMs + this.#stepMs;
      this.#dueMs = Math.max(next, now - MOST_BEHIND_MS);
      return pauseUntil(this.#dueMs, signal);
    });
    return this.#last;
  }
}
