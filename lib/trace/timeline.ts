/**
 * timeline: calls of both sides, packets and states of one conversation on one clock.
 *
 * strace and tcpdump both stamp with CLOCK_REALTIME of the same kernel, so nothing has to be shifted. clock.ts shows how exact
 * that is.
 */
import { callFacts, type CallFacts } from "./call-text.ts";
import type { Gathered, SidedCall } from "./conversations.ts";
import {
  followStates,
  next32,
  otherSide,
  type Side,
  type SidedPacket,
  type States,
} from "./states.ts";
import { firstWhere } from "./search.ts";
import { timeWaitEnd, type Sample } from "./samples.ts";
import type { Syscall } from "./strace.ts";
import type { Packet } from "./tcpdump.ts";

/** A packet with sequence numbers as people count: from 0 at the SYN of its side. */
export type PacketFacts = Pick<Packet, "flags" | "length" | "window" | "options"> & {
  readonly seq: number | undefined;
  readonly ack: number | undefined;
  /** `sent again`, `keep-alive probe`, `window 0`: what does not meet the eye. */
  readonly note: string | undefined;
};

/** One row of a timeline. */
export type Row = {
  /** Nanoseconds since 1970. */
  readonly atNs: bigint;
  /** Who called, or who sent. */
  readonly side: Side;
} & (
  | {
      readonly kind: "call";
      readonly name: string;
      readonly fd: number;
      readonly facts: CallFacts;
      /** A call that others came in between of has two rows: it began, it returned. */
      readonly phase: "whole" | "begin" | "end";
      /** It waited for events on any of several descriptors; the row stands where it woke up. */
      readonly isWakeUp: boolean;
      readonly tookNs: bigint | undefined;
    }
  | {
      readonly kind: "packet";
      readonly protocol: "tcp" | "udp";
      readonly packet: PacketFacts;
      /** After the packet; undefined for UDP, which has none. */
      readonly states: States | undefined;
    }
  /** The socket table says what no packet shows: a timer has run out. */
  | { readonly kind: "timer"; readonly states: States }
);

/** One conversation, ready to be shown. */
export type Timeline = {
  readonly conversation: Gathered;
  /** The time that counts as 0: the first packet, or else the first call. */
  readonly zeroNs: bigint;
  readonly rows: readonly Row[];
};

/** Merges what was seen of a conversation. `samples` are the readings of the socket table, where there are any. */
export function timelineOf(conversation: Gathered, samples: readonly Sample[] = []): Timeline {
  const packets = packetRows(conversation);
  const last = packets.at(-1)?.states;
  const times = { client: timesOf(packets, "client"), server: timesOf(packets, "server") };
  const isOwn = ({ life }: SidedCall): boolean => !life.isListener;
  const own = conversation.calls.filter(isOwn).flatMap((call) => callRows(call, times));
  const seen = [...packets, ...own].sort(byTime);
  // What a listener does when the conversation is over has nothing to do with it.
  const overNs = seen.at(-1)?.atNs;
  const listening = conversation.calls
    .filter((call) => !isOwn(call) && (overNs === undefined || call.call.beginNs < overNs))
    .flatMap((call) => callRows(call, times));
  const rows = [...seen, ...listening, ...timerRows(conversation, samples, last)].sort(byTime);
  return { conversation, rows, zeroNs: packets[0]?.atNs ?? rows[0]?.atNs ?? 0n };
}

/** The end of TIME_WAIT: after it neither side has a socket. No timer ran out where a RST had ended it, as `last` then says. */
function timerRows(
  conversation: Gathered,
  samples: readonly Sample[],
  last: States | undefined,
): readonly Row[] {
  const end = timeWaitEnd(conversation, samples);
  if (end === undefined || (last !== undefined && last[end.side] !== "TIME_WAIT")) return [];
  return [{ ...end, kind: "timer", states: { client: "CLOSE", server: "CLOSE" } }];
}

function byTime(a: Row, b: Row): number {
  return Number(a.atNs - b.atNs);
}

/** When each side sent packets, in the order of time. */
type PacketTimes = Readonly<Record<Side, readonly bigint[]>>;

function timesOf(packets: readonly Row[], side: Side): readonly bigint[] {
  return packets
    .filter((row) => row.side === side)
    .sort(byTime)
    .map(({ atNs }) => atNs);
}

/** The first of these times behind `ns`. */
function nextTime(times: readonly bigint[], ns: bigint): bigint | undefined {
  return times[firstWhere(times, (atNs) => atNs > ns)];
}

/** Was a packet sent while the call was under way? */
function hasSpanned({ beginNs, endNs = beginNs }: Syscall, times: PacketTimes): boolean {
  return [times.client, times.server].some((some) => (nextTime(some, beginNs) ?? endNs) < endNs);
}

/** The calls that wait for events on any of several descriptors. */
const WAITS_FOR_EVENTS = /^(epoll_p?wait2?|p?poll|p?select6?)$/;
const MAY_WAIT =
  /^(accept4?|connect|read|readv|recv|recvfrom|recvmsg|write|writev|send|sendto|sendmsg)$/;

function callRows(sided: SidedCall, times: PacketTimes): Row[] {
  const { call, side, life, listener, events } = sided;
  const { beginNs, endNs, name } = call;
  const fd = (listener ?? life).fd;
  const facts = callFacts(call, fd, events);
  const tookNs = endNs === undefined ? undefined : endNs - beginNs;
  const isWakeUp = WAITS_FOR_EVENTS.test(name);
  const row = { kind: "call", side, name, fd, facts, tookNs, isWakeUp } as const;
  // Nobody wants to know when a program began to wait for whatever may come: what matters is when it woke up.
  if (isWakeUp) return [{ ...row, phase: "whole", atNs: wokeNs(sided, times) }];
  const isSplit = MAY_WAIT.test(name) && isBlocking(name, facts) && hasSpanned(call, times);
  if (endNs === undefined || !isSplit) return [{ ...row, phase: "whole", atNs: beginNs }];
  return [
    { ...row, phase: "begin", atNs: beginNs },
    { ...row, phase: "end", atNs: endNs },
  ];
}

/**
 * strace knows only bounds of when a call returned. A program that had to wait was woken up by a packet: when none had come by the
 * earlier bound, it was the one that came by the later.
 */
function wokeNs({ call, side }: SidedCall, times: PacketTimes): bigint {
  const { beginNs, endNs = beginNs, doneByNs = endNs } = call;
  const cause = nextTime(times[otherSide(side)], beginNs);
  const hadToWait = endNs - beginNs > AT_ONCE_NS;
  return hadToWait && cause !== undefined && cause > endNs && cause < doneByNs ? cause : endNs;
}

/** A call that found what it wanted returns within this. */
const AT_ONCE_NS = 50_000n;

/** What a call sends leaves before it returns: only of a call that brings something does the return deserve a row. */
function isBlocking(name: string, { errno }: CallFacts): boolean {
  return errno === undefined && !/^(write|send)/.test(name);
}

function packetRows({ packets, calls, protocol }: Gathered): (Row & { readonly kind: "packet" })[] {
  const isListening =
    packets.some(({ from, packet }) => from === "server" && packet.flags.includes("SYN")) ||
    calls.some(({ side, call }) => side === "server" && call.name === "listen");
  const states = protocol === "tcp" ? followStates(packets, isListening) : [];
  const numbers = new Numbers();
  return packets.map((sided, index) => ({
    kind: "packet",
    protocol,
    atNs: sided.packet.atNs,
    side: sided.from,
    packet: numbers.facts(sided),
    states: states[index]?.states,
  }));
}

/** Counts each direction from its SYN, as Wireshark does; without one from its first segment, which then has number 1. */
class Numbers {
  readonly #first: Partial<Record<Side, number>> = {};
  /** The number of the byte that has to come next. */
  readonly #next: Partial<Record<Side, number>> = {};

  facts({ from, packet }: SidedPacket): PacketFacts {
    const { flags, length, window, options } = packet;
    const seq = this.#relative(from, packet.seq, packet);
    const ack = flags.includes("ACK") ? this.#relative(otherSide(from), packet.ack) : undefined;
    const note = this.#note(from, seq, packet);
    if (seq !== undefined && occupied(packet) > 0)
      this.#next[from] = Math.max(this.#next[from] ?? 0, seq + occupied(packet));
    return { flags, length, window, options, seq, ack, note };
  }

  #relative(side: Side, number: number | undefined, own?: Packet): number | undefined {
    if (number === undefined) return undefined;
    const isSyn = own?.flags.includes("SYN") === true;
    const first = (this.#first[side] ??= isSyn ? number : next32(number, 2 ** 32 - 1));
    return next32(number, 2 ** 32 - first);
  }

  #note(from: Side, seq: number | undefined, packet: Packet): string | undefined {
    const next = this.#next[from];
    const has = new Set(packet.flags);
    if (seq !== undefined && next !== undefined && !has.has("RST")) {
      if (occupied(packet) > 0 && seq < next) return "sent again";
      if (occupied(packet) === 0 && seq === next - 1) return "keep-alive probe";
    }
    return packet.window === 0 && !has.has("RST") ? "window 0" : undefined;
  }
}

/** How many sequence numbers a segment takes: its bytes, and one each for SYN and FIN. */
function occupied({ flags, length }: Packet): number {
  return length + (flags.includes("SYN") ? 1 : 0) + (flags.includes("FIN") ? 1 : 0);
}
