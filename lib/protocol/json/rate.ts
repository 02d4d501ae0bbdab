/** rate: how many messages one connection may send. Reading them is what costs, so in the end it is not read from. */

/** How fast, and how many at once. */
export type Rate = { readonly perSecond: number; readonly burst: number };

/**
 * A token bucket, full at first: each message takes a token, tokens come back with time. A message that finds none is refused.
 * Whoever goes on after as many refusals as a burst is shut out until there are tokens again: TCP makes it wait, and neither
 * its messages nor our refusals cost anything more.
 */
export class Throttle {
  readonly #rate: Rate;
  #tokens: number;
  #filledMs: number;
  #refusedInARow = 0;
  isShut = false;

  constructor(rate: Rate, nowMs: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledMs = nowMs;
  }

  /** May one more message pass? */
  pass(nowMs: number): boolean {
    if (this.#hasToken(nowMs)) {
      this.#tokens -= 1;
      this.#refusedInARow = 0;
      return true;
    }
    this.#refusedInARow += 1;
    this.isShut = this.#refusedInARow >= this.#rate.burst;
    return false;
  }

  /** Lets messages come again once there are tokens. */
  reopen(nowMs: number): void {
    this.isShut = !this.#hasToken(nowMs);
  }

  #hasToken(nowMs: number): boolean {
    const { perSecond, burst } = this.#rate;
    // What waited while we did not read is judged by the time of its arrival, which may be past.
    if (nowMs > this.#filledMs) {
      this.#tokens = Math.min(burst, this.#tokens + ((nowMs - this.#filledMs) * perSecond) / 1_000);
      this.#filledMs = nowMs;
    }
    return this.#tokens >= 1;
  }
}
