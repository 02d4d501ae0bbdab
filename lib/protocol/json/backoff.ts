/** backoff: how long to wait before the next try, so that those who failed together do not come back together. */
import { fullJitterGenerator } from "cockatiel";

/** Times of a back-off, in milliseconds. */
export type BackoffOptions = {
  /** The first delay is below this. */
  readonly baseMs: number;
  /** No delay is longer. */
  readonly capMs: number;
};

/** What holds where nothing else was asked for. */
export const BACKOFF: BackoffOptions = { baseMs: 100, capMs: 30_000 };

/**
 * A delay with full jitter, after so many tries that have failed before this one: anything between 0 and a limit that doubles from try
 * to try. The spread matters as much as the growth: without it a thousand clients come back as a thousand clients.
 * Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function backoffMs(failed: number, { baseMs, capMs }: BackoffOptions = BACKOFF): number {
  const options = {
    generator: fullJitterGenerator,
    exponent: 2,
    initialDelay: baseMs,
    maxDelay: capMs,
  };
  return fullJitterGenerator(failed, options)[0];
}
