/**
 * record: what a socket table says, as plain data.
 *
 * The tools disagree about names, columns and even about what a socket is. Every parser of this room turns its text
 * into these records, so that everything behind it knows one spelling.
 */

/** The 11 states of TCP in the kernel's spelling and order (include/net/tcp_states.h; RFC 9293 section 3.3.2). */
export const TCP_STATES = [
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
] as const;

/** One of the 11 states of TCP. */
export type TcpState = (typeof TCP_STATES)[number];

/** How many sockets are in each state: always all 11, zeros included. */
export type StateCounts = Readonly<Record<TcpState, number>>;

/** What the rows of a table may be. Everything else (unix, netlink, vsock, raw ...) is skipped and accounted for. */
export type Protocol = "tcp" | "udp";

/** One end of a connection. */
export type Endpoint = {
  /** As the tool prints it, without brackets and zone; `*` or a host name where the tool prints those. */
  readonly address: string;
  /** A number; a service name such as `https` where the tool was not asked for numbers; null for "any" (`*` or 0). */
  readonly port: number | string | null;
  /** The interface of a link-local address: `fe80::1%eth0` has zone `eth0`. */
  readonly zone?: string;
  /** The tool cut the text to its column, or may have: the text fills the column exactly. */
  readonly truncated?: true;
};

/** A process that holds the socket. Tools leave out what they do not know. */
export type Owner = {
  readonly pid: number;
  /** Cut by most tools: the kernel keeps 15 characters, net-tools prints 20 with the pid. */
  readonly name?: string;
  readonly fd?: number;
};

/** The timer that runs for a socket, from `ss -o`, `netstat -o` or /proc. */
export type Timer = {
  /** `on` (retransmission), `keepalive`, `timewait`, `persist`, or what else the tool says. */
  readonly name: string;
  readonly remainingMs: number;
  readonly retransmits: number;
};

/** One socket, seen by one tool at one instant. */
export type SocketRecord = {
  readonly protocol: Protocol;
  /** 4 or 6; undefined where the text does not say (`*:80`, host names). */
  readonly family: 4 | 6 | undefined;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Undefined for UDP, and for TCP where the text has no state (`netstat -x` on FreeBSD, sockstat, `lsof -F` without T). */
  readonly state: TcpState | undefined;
  /** Bytes not yet read by the program; for LISTEN on Linux, connections waiting for accept. */
  readonly recvQ: number | undefined;
  /** Bytes not yet acknowledged by the peer; for LISTEN on Linux, the size of the accept queue. */
  readonly sendQ: number | undefined;
  readonly owners: readonly Owner[];
  /** Line of the source, from 1. */
  readonly line: number;
  readonly timer?: Timer;
  /** A number, or a user name where the tool prints names. */
  readonly uid?: number | string;
  /** Number of the socket's inode; 0 when the socket has none (TIME_WAIT, or not yet accepted). */
  readonly inode?: number;
  /** What else the tool shows of this socket: congestion control, rtt, memory. A word without a value has the value "". */
  readonly details?: Readonly<Record<string, string>>;
};

/** All 11 states at zero. */
export function emptyCounts(): Record<TcpState, number> {
  return {
    ESTABLISHED: 0,
    SYN_SENT: 0,
    SYN_RECV: 0,
    FIN_WAIT1: 0,
    FIN_WAIT2: 0,
    TIME_WAIT: 0,
    CLOSE: 0,
    CLOSE_WAIT: 0,
    LAST_ACK: 0,
    LISTEN: 0,
    CLOSING: 0,
  };
}

/** Counts TCP sockets by state. UDP never counts, nor does a TCP row whose text shows no state. */
export function countStates(records: Iterable<SocketRecord>): StateCounts {
  const counts = emptyCounts();
  for (const { protocol, state } of records)
    if (protocol === "tcp" && state !== undefined) counts[state] += 1;
  return counts;
}

/** The sum over all states. */
export function totalOf(counts: StateCounts): number {
  return TCP_STATES.reduce((sum, state) => sum + counts[state], 0);
}
