/** realtime: the time of day in nanoseconds, as strace and tcpdump stamp it. */

/**
 * CLOCK_REALTIME finer than the millisecond that Date has: waits for the moment at which Date goes on by one, and counts from there
 * with the monotonic clock. Whoever is interrupted at that moment notices it late, never early: of several tries the earliest counts.
 * When somebody sets the clock meanwhile, Date shows it, and it is done again.
 */
export function realtimeClock(): () => bigint {
  let offsetNs = measuredOffsetNs();
  return () => {
    const fromMs = Date.now();
    const ns = process.hrtime.bigint() + offsetNs;
    const isSet =
      ns < BigInt(fromMs - SET_MS) * NS_PER_MS || ns > BigInt(Date.now() + SET_MS) * NS_PER_MS;
    if (!isSet) return ns;
    offsetNs = measuredOffsetNs();
    return process.hrtime.bigint() + offsetNs;
  };
}

const TRIES = 5;
const NS_PER_MS = 1_000_000n;
/** Whole milliseconds, and a clock that is slowly corrected. */
const SET_MS = 2;

function measuredOffsetNs(): bigint {
  const tries = Array.from({ length: TRIES }, () => {
    const before = Date.now();
    let now = before;
    while (now === before) now = Date.now();
    return BigInt(now) * NS_PER_MS - process.hrtime.bigint();
  });
  return tries.reduce((one, other) => (one > other ? one : other));
}
