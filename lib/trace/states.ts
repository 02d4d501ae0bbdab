/**
 * states: the state of either side of a connection, derived from the packets alone.
 *
 * A packet that was sent changes its sender, a packet that arrived its receiver: RFC 9293, figure 5 and section 3.10.7. Where
 * Linux differs it is followed: a listener answers a SYN or drops it, so that SYN_RECV begins with the SYN-ACK, not with the SYN.
 */
import type { TcpState } from "../sockets/record.ts";
import type { Packet } from "./tcpdump.ts";

/** One side of a conversation. */
export type Side = "client" | "server";

/** The state of both sides. LISTEN stands for a server side that has no socket of its own yet. */
export type States = Readonly<Record<Side, TcpState>>;

/** The states of both sides after a packet. */
export type StateChange = {
  readonly atNs: bigint;
  readonly states: States;
  /**
   * The state that its receiver was in between its ACK and its FIN. Linux sends the last ACK before it leaves it, and the socket table
   * shows it meanwhile: tcp_fin() in net/ipv4/tcp_input.c.
   */
  readonly between?: Partial<States>;
};

/** A packet with the side that sent it. */
export type SidedPacket = { readonly from: Side; readonly packet: Packet };

/** The other one. */
export function otherSide(side: Side): Side {
  return side === "client" ? "server" : "client";
}

type Half = {
  state: TcpState;
  /** The number of the byte behind our FIN, once it was sent. */
  finEnd: number | undefined;
  /** The same of their FIN, once it arrived. */
  theirFinEnd: number | undefined;
};

/**
 * Follows a connection; one element for each packet, in the same order. `isListening` is false when nobody listens: then the
 * server's side stays CLOSE. Without a SYN both sides begin as ESTABLISHED: they were when the capture began.
 */
export function followStates(packets: readonly SidedPacket[], isListening = true): StateChange[] {
  const hasSyn = packets.some(({ packet }) => packet.flags.includes("SYN"));
  const half = (state: TcpState): Half => ({ state, finEnd: undefined, theirFinEnd: undefined });
  const halves: Record<Side, Half> = hasSyn
    ? { client: half("CLOSE"), server: half(isListening ? "LISTEN" : "CLOSE") }
    : { client: half("ESTABLISHED"), server: half("ESTABLISHED") };
  let crossed: SidedPacket | undefined;
  return packets.map(({ from, packet }, index) => {
    const to = otherSide(from);
    let between: TcpState | undefined;
    sent(halves[from], packet);
    if (isCrossedFin(packets, index)) crossed = { from, packet };
    else if (!isLostFin(packets, index)) between = received(halves[to], packet);
    if (crossed?.from === to && packet.flags.includes("FIN")) {
      received(halves[from], crossed.packet);
      crossed = undefined;
    }
    const { client, server } = halves;
    const states = { client: client.state, server: server.state };
    return { atNs: packet.atNs, states, ...(between && { between: { [to]: between } }) };
  });
}

/**
 * A FIN that is sent again before anything has acknowledged it was captured, but never arrived: a socket that turns from
 * FIN_WAIT1 into the small one of FIN_WAIT2 at that moment, on another processor, does not see it.
 */
function isLostFin(packets: readonly SidedPacket[], index: number): boolean {
  const { from, packet } = packets[index] ?? {};
  if (packet?.seq === undefined || !packet.flags.includes("FIN")) return false;
  const end = endOf(packet);
  const next = packets
    .slice(index + 1)
    .find((other) =>
      other.from === from
        ? other.packet.seq === packet.seq && other.packet.flags.includes("FIN")
        : other.packet.ack === end,
    );
  return next !== undefined && next.from === from;
}

/**
 * A FIN that the other side's own FIN does not acknowledge had not arrived when that one was sent: both close at once. It arrives after it.
 */
function isCrossedFin(packets: readonly SidedPacket[], index: number): boolean {
  const { from, packet } = packets[index] ?? {};
  if (packet?.seq === undefined || !packet.flags.includes("FIN")) return false;
  const theirs = packets
    .slice(index + 1)
    .find((other) => other.from !== from && other.packet.flags.includes("FIN"));
  return theirs?.packet.ack !== undefined && theirs.packet.ack !== endOf(packet);
}

function sent(half: Half, packet: Packet): void {
  const has = new Set(packet.flags);
  if (has.has("RST")) {
    // A listener that refuses, or has nothing to do with a segment, stays what it is.
    if (half.state !== "LISTEN") half.state = "CLOSE";
  } else if (has.has("SYN")) {
    if (half.state === "CLOSE" || half.state === "LISTEN")
      half.state = has.has("ACK") ? "SYN_RECV" : "SYN_SENT";
  } else if (has.has("FIN")) {
    half.finEnd = endOf(packet);
    if (half.state === "ESTABLISHED" || half.state === "SYN_RECV") half.state = "FIN_WAIT1";
    else if (half.state === "CLOSE_WAIT") half.state = "LAST_ACK";
  }
}

/** Returns the state between the ACK and the FIN of one packet, if both of them changed it. */
function received(half: Half, packet: Packet): TcpState | undefined {
  const has = new Set(packet.flags);
  if (has.has("RST")) {
    if (isEndedBy(half, packet)) half.state = "CLOSE";
    return undefined;
  }
  if (has.has("SYN")) {
    if (half.state === "SYN_SENT") half.state = has.has("ACK") ? "ESTABLISHED" : "SYN_RECV";
    return undefined;
  }
  const before = half.state;
  if (has.has("ACK")) receivedAck(half, packet);
  if (!has.has("FIN")) return undefined;
  const between = half.state;
  half.state = AFTER_THEIR_FIN[between] ?? between;
  half.theirFinEnd = endOf(packet);
  return before === between || between === half.state ? undefined : between;
}

/**
 * TIME_WAIT is ended by a RST that stands right behind the other side's FIN, which RFC 1337 calls assassination, and by no other:
 * tcp_timewait_state_process() in net/ipv4/tcp_minisocks.c, with the default tcp_rfc1337=0.
 */
function isEndedBy({ state, theirFinEnd }: Half, { seq }: Packet): boolean {
  return state === "TIME_WAIT" ? seq === theirFinEnd : state !== "LISTEN";
}

function receivedAck(half: Half, { ack }: Packet): void {
  if (half.state === "SYN_RECV") half.state = "ESTABLISHED";
  if (half.finEnd === undefined || ack === undefined || ack !== half.finEnd) return;
  half.state = AFTER_OUR_FIN[half.state] ?? half.state;
}

/** Our FIN was acknowledged. */
const AFTER_OUR_FIN: Partial<Record<TcpState, TcpState>> = {
  FIN_WAIT1: "FIN_WAIT2",
  CLOSING: "TIME_WAIT",
  LAST_ACK: "CLOSE",
};

/** Their FIN arrived. */
const AFTER_THEIR_FIN: Partial<Record<TcpState, TcpState>> = {
  ESTABLISHED: "CLOSE_WAIT",
  FIN_WAIT1: "CLOSING",
  FIN_WAIT2: "TIME_WAIT",
};

/** The number of the byte behind a FIN. */
function endOf({ seq, length }: Packet): number | undefined {
  return seq === undefined ? undefined : next32(seq, length + 1);
}

/** Sequence numbers count modulo 2^32. */
export function next32(seq: number, by: number): number {
  return (seq + by) % 2 ** 32;
}
