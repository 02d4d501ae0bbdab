/**
 * latency: how long the parts of a connection take, over many of them, without strace.
 *
 * tcpdump stamps the packets; both programs write down when they called and when they were told. All of it is CLOCK_REALTIME of one
 * kernel. What strace would add is left out; what tcpdump adds is measured with a second run without it.
 */
import type { Recording } from "./order.ts";
import { parseTcpdump, type Packet } from "./tcpdump.ts";

/** What the client writes down of one connection: nanoseconds since 1970, as text, because they travel as JSON. */
export type ClientStamps = Readonly<
  Record<"port" | "called" | "connected" | "written" | "echoed", string>
>;

/** What the server writes down. `port` is the client's. */
export type ServerStamps = Readonly<Record<"port" | "accepted" | "read", string>>;

/** Percentiles in microseconds. */
export type Percentiles = Readonly<
  Record<"min" | "p50" | "p90" | "p99" | "max", number> & { readonly count: number }
>;

/** Where a part is spent: in the kernel alone, or between kernel and a program. */
export type Part = {
  readonly name: string;
  readonly where: "kernel" | "program";
  readonly us: Percentiles;
};

/** What was measured. */
export type Latencies = {
  readonly parts: readonly Part[];
  /** connect() as the client saw it, with tcpdump and without. */
  readonly withoutTcpdump: Percentiles;
};

type Times = Readonly<Record<TimeName, bigint>>;
type TimeName =
  | ("syn" | "synAck" | "lastAck" | "data" | "dataAck")
  | ("called" | "connected" | "written" | "echoed")
  | ("accepted" | "read");

/** The parts, each from one time to another, in the order in which they happen. */
const PARTS: readonly (readonly [Part["where"], name: string, from: TimeName, to: TimeName])[] = [
  ["kernel", "SYN to SYN-ACK", "syn", "synAck"],
  ["kernel", "SYN to the last ACK of the handshake", "syn", "lastAck"],
  ["kernel", "data to its ACK", "data", "dataAck"],
  ["program", "connect() called to connected", "called", "connected"],
  ["program", "SYN to accept() returned", "syn", "accepted"],
  ["program", "last ACK to accept() returned (wake-up)", "lastAck", "accepted"],
  ["program", "data arrived to read() returned (wake-up)", "data", "read"],
  ["program", "write() called to echo read", "written", "echoed"],
];

/** Joins packets and stamps by the client's port. Throws an Error when no connection was seen whole. */
export function latencies(recording: Recording): Latencies {
  const [server, client, bare] = recording.traced.map(
    ({ output }) => JSON.parse(output) as unknown,
  );
  const byPort = packetsByPort(parseTcpdump(recording.tcpdump).packets);
  const servers = new Map((server as ServerStamps[]).map((stamps) => [stamps.port, stamps]));
  const whole = (client as ClientStamps[]).flatMap((stamps) => {
    const accepted = servers.get(stamps.port);
    const wire = wireTimes(byPort.get(stamps.port) ?? []);
    return accepted === undefined || wire === undefined
      ? []
      : [{ ...wire, ...nanoseconds(stamps), ...nanoseconds(accepted) } satisfies Times];
  });
  if (whole.length === 0) throw new Error("no connection was seen from its SYN to its echo");
  return {
    parts: PARTS.map(([where, name, from, to]) => ({
      name,
      where,
      us: percentiles(whole.map((times) => Number(times[to] - times[from]) / 1_000)),
    })),
    withoutTcpdump: percentiles(
      (bare as ClientStamps[])
        .map(nanoseconds)
        .map(({ called, connected }) => Number(connected - called) / 1_000),
    ),
  };
}

function nanoseconds<K extends string>(
  stamps: Readonly<Record<K | "port", string>>,
): Record<Exclude<K, "port">, bigint> {
  const entries = Object.entries<string>(stamps).filter(([name]) => name !== "port");
  return Object.fromEntries(entries.map(([name, text]) => [name, BigInt(text)])) as Record<
    Exclude<K, "port">,
    bigint
  >;
}

function packetsByPort(packets: readonly Packet[]): ReadonlyMap<string, readonly Packet[]> {
  const found = new Map<string, Packet[]>();
  // The client's port is the one that its SYN came from; a server's is the same for all.
  const clients = new Set(
    packets
      .filter(({ flags }) => flags.includes("SYN") && !flags.includes("ACK"))
      .map(({ from }) => from.port),
  );
  for (const packet of packets) {
    const port = clients.has(packet.from.port) ? packet.from.port : packet.to.port;
    const some = found.get(`${port}`);
    if (some === undefined) found.set(`${port}`, [packet]);
    else some.push(packet);
  }
  return found;
}

type WireTimes = Pick<Times, "syn" | "synAck" | "lastAck" | "data" | "dataAck">;

function wireTimes([syn, synAck, lastAck, data, answer]: readonly Packet[]): WireTimes | undefined {
  const isWhole =
    synAck?.flags.includes("SYN") === true && data !== undefined && data.length > 0 && lastAck;
  if (!isWhole || syn === undefined || answer === undefined) return undefined;
  return {
    ...{ syn: syn.atNs, synAck: synAck.atNs, lastAck: lastAck.atNs },
    ...{ data: data.atNs, dataAck: answer.atNs },
  };
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  return {
    count: sorted.length,
    ...{ min: at(0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) },
  };
}
