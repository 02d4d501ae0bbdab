/**
 * clock: how well the clocks of strace and tcpdump agree, shown from causality alone.
 *
 * Both are CLOCK_REALTIME of one kernel, but read in different places. A segment that a call sends is stamped while the kernel is in
 * that call: after strace saw it begin, before strace saw the thread do anything else. Were the clocks apart, segments would fall out of their calls. So
 * every pair of call and packet bounds the difference from both sides.
 */
import type { Gathered } from "./conversations.ts";
import type { Side } from "./states.ts";
import type { Packet } from "./tcpdump.ts";
import type { Timeline } from "./timeline.ts";

/** The difference between both clocks (tcpdump's minus strace's) lies between these, in microseconds. */
export type ClockBounds = {
  readonly lowUs: number;
  readonly highUs: number;
  /** How many pairs of a call and the packet that it sent were found. */
  readonly pairs: number;
};

/** Undefined when no pair was found. When `lowUs` is above 0 or `highUs` below 0 the clocks differ. */
export function clockBounds({ conversation }: Timeline): ClockBounds | undefined {
  const pairs = (["client", "server"] as const).flatMap((side) => pairsOf(conversation, side));
  if (pairs.length === 0) return undefined;
  return {
    lowUs: Math.max(...pairs.map(({ lowUs }) => lowUs)),
    highUs: Math.min(...pairs.map(({ highUs }) => highUs)),
    pairs: pairs.length,
  };
}

/**
 * The calls of a side whose packet leaves at once, whatever else is going on: connect() sends the SYN, the first write() the first
 * data (Nagle's algorithm holds back only the second), the first of shutdown() and close() the FIN or RST.
 */
const SENDERS: readonly {
  readonly call: RegExp;
  readonly isPacket: (packet: Packet) => boolean;
}[] = [
  { call: /^connect$/, isPacket: ({ flags }) => flags.includes("SYN") },
  { call: /^(write|send|sendto|sendmsg|writev)$/, isPacket: ({ length }) => length > 0 },
  {
    call: /^(shutdown|close)$/,
    isPacket: ({ flags }) => flags.includes("FIN") || flags.includes("RST"),
  },
];

function pairsOf(
  { calls, packets }: Gathered,
  side: Side,
): readonly { readonly lowUs: number; readonly highUs: number }[] {
  return SENDERS.flatMap(({ call: name, isPacket }) => {
    const sent = packets.find(({ from, packet }) => from === side && isPacket(packet))?.packet.atNs;
    const found = calls.find(
      (one) => one.side === side && !one.life.isListener && name.test(one.call.name),
    );
    const { beginNs, doneByNs } = found?.call ?? {};
    if (sent === undefined || beginNs === undefined || doneByNs === undefined) return [];
    return [{ lowUs: Number(sent - doneByNs) / 1_000, highUs: Number(sent - beginNs) / 1_000 }];
  });
}
