/** backoff: how long to wait before the next try, so that those who failed together do not come back together. */
import { ExponentialBackoff, fullJitterGenerator } from "cockatiel";

/** Times of a back-off, in milliseconds. */
export type BackoffOptions = {
  /** The first delay is below this. */
  readonly baseMs: number;
  /** No delay is longer. */
  readonly capMs: number;
};

export const BACKOFF: BackoffOptions = { baseMs: 100, capMs: 30_000 };

/**
 * Delays with full jitter: anything between 0 and a limit that doubles from try to try. The spread matters as much as the
 * growth: without it a thousand clients come back as a thousand clients. Endless; take as many as there are tries.
 * Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function* backoffDelays({ baseMs, capMs }: BackoffOptions = BACKOFF): Generator<
  number,
  never
> {
  const factory = new ExponentialBackoff({
    generator: fullJitterGenerator,
    initialDelay: baseMs,
    maxDelay: capMs,
  });
  for (let step = factory.next(); ; step = step.next(undefined)) yield step.duration;
}
