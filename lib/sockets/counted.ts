/**
 * counted: all states from a short list and the kernel's own numbers.
 *
 * The kernel counts some states together: ESTABLISHED with CLOSE_WAIT (CurrEstab of /proc/net/snmp), TIME_WAIT with the
 * FIN_WAIT2 that it keeps in the same way (`tw` of /proc/net/sockstat). Of each pair the state with fewer sockets is listed, and
 * the other one is what remains: ten thousand CLOSE_WAITs need not be read one by one either.
 */
import { isKeptAsTimeWait, type KernelNumbers } from "./kernel-numbers.ts";
import type { SocketRecord, StateCounts, TcpState } from "./record.ts";

/** The states that are not listed, one of each pair. */
export type Unlisted = readonly ["ESTABLISHED" | "CLOSE_WAIT", "TIME_WAIT" | "FIN_WAIT2"];

/** Those of which there were more at the last look, or usually are. */
export function unlistedAfter(before: StateCounts | undefined): Unlisted {
  const isMore = (one: TcpState, other: TcpState): boolean =>
    before !== undefined && before[one] > before[other];
  return [
    isMore("CLOSE_WAIT", "ESTABLISHED") ? "CLOSE_WAIT" : "ESTABLISHED",
    isMore("FIN_WAIT2", "TIME_WAIT") ? "FIN_WAIT2" : "TIME_WAIT",
  ];
}

/** What was listed, and all the kernel's numbers. */
export type Listed = {
  readonly counts: StateCounts;
  /** With their timers. */
  readonly records: readonly SocketRecord[];
};

/** Adds what was not listed. Undefined where the kernel lacks a number. */
export function withUnlisted(
  { counts, records }: Listed,
  [open, ended]: Unlisted,
  { established, timeWait, inUse4, inUse6 }: KernelNumbers,
): StateCounts | undefined {
  if (established === undefined || timeWait === undefined || inUse4 === undefined) return undefined;
  const kept = records.filter(isKeptAsTimeWait).length;
  // Of what is listed, `inuse` has all that is neither a TIME_WAIT nor half a handshake.
  const others = records.length - kept - counts.SYN_RECV - counts.ESTABLISHED - counts.CLOSE_WAIT;
  const halfClosed = inUse4 + (inUse6 ?? 0) - established - others;
  return {
    ...counts,
    [open]: atLeast0(established - counts.ESTABLISHED - counts.CLOSE_WAIT),
    [ended]: atLeast0(timeWait - kept) + (ended === "FIN_WAIT2" ? atLeast0(halfClosed) : 0),
  };
}

/** The numbers are read one after the other: what changes meanwhile may make a difference negative. */
function atLeast0(difference: number): number {
  return Math.max(0, difference);
}
