/**
 * ports: from which local ports connect() may choose, and what a closed connection's port has to wait for.
 *
 * Source: __inet_hash_connect() in net/ipv4/inet_hashtables.c and tcp_twsk_unique() in net/ipv4/tcp_ipv4.c; ip(7), tcp(7).
 */
import { readNumericSysctl, readSysctl } from "./sysctl.ts";

/** The ephemeral port range: from `low` to `high`, both included; `ports` are those that connect() may choose. */
export type PortRange = {
  readonly low: number;
  readonly high: number;
  readonly ports: readonly number[];
};

/** Reads ip_local_port_range and ip_local_reserved_ports of this network namespace. */
export function ephemeralPorts(): PortRange {
  const range = readSysctl("net.ipv4.ip_local_port_range") ?? "32768 60999";
  return portRange(range, readSysctl("net.ipv4.ip_local_reserved_ports") ?? "");
}

/** The range from the texts of the two parameters, for example `"40000 40999"` and `"40007,40010-40012"`. */
export function portRange(range: string, reserved: string): PortRange {
  const [low = 0, high = 0] = range.split(/\s+/).map(Number);
  const kept = new Set(reservedPorts(reserved));
  const all = Array.from({ length: high - low + 1 }, (_, index) => low + index);
  return { low, high, ports: all.filter((port) => !kept.has(port)) };
}

function reservedPorts(reserved: string): readonly number[] {
  const parts = reserved.split(",").filter((part) => part !== "");
  return parts.flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** When may a port whose old connection is in TIME_WAIT carry a new one to the same address and port? */
export type TimeWaitReuse =
  /** Not for 60 s: TCP_TIMEWAIT_LEN, a constant of the kernel. */
  | { readonly kind: "never" }
  /** After `delayMs`: by tcp_tw_reuse for any destination (1), or only when both ends are loopback addresses (2, the default). */
  | { readonly kind: "after-delay"; readonly delayMs: number; readonly mode: ReuseMode };

/** The values of tcp_tw_reuse that give ports back. */
export type ReuseMode = 1 | 2;

/** The parameters that decide it, as numbers. */
export type ReuseParameters = {
  /** tcp_tw_reuse: 0, 1 or 2. */
  readonly mode: number;
  /** tcp_timestamps: without them no TIME_WAIT can be told from what comes later. */
  readonly timestamps: number;
  /** tcp_tw_reuse_delay. */
  readonly delayMs: number;
};

/** How long a TIME_WAIT socket lives. A constant, TCP_TIMEWAIT_LEN in include/net/tcp.h; no parameter changes it. */
export const TIME_WAIT_MS = 60_000;

/** What tcp_tw_reuse of this network namespace means for connections to `address`. */
export function timeWaitReuse(address: string): TimeWaitReuse {
  return reuseBy(
    {
      mode: readNumericSysctl("net.ipv4.tcp_tw_reuse", 0),
      timestamps: readNumericSysctl("net.ipv4.tcp_timestamps", 1),
      delayMs: readNumericSysctl("net.ipv4.tcp_tw_reuse_delay", 1_000),
    },
    address,
  );
}

/** The same from the values of the parameters. Needs TCP timestamps on both sides, which are on by default. */
export function reuseBy(parameters: ReuseParameters, address: string): TimeWaitReuse {
  const { mode, timestamps, delayMs } = parameters;
  const isGivenBack = mode === 1 || (mode === 2 && isLoopback(address));
  if (timestamps === 0 || !isGivenBack) return { kind: "never" };
  return { kind: "after-delay", delayMs, mode };
}

/** Is this an address of 127.0.0.0/8, ::1, or an IPv4-mapped form of the former? */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.\d+\.\d+\.\d+$/i.test(address) || address === "::1";
}
