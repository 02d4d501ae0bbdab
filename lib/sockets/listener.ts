/** listener: what a socket table says about a server. */
import {
  countStates,
  emptyCounts,
  type SocketRecord,
  type StateCounts,
  type TcpState,
} from "./record.ts";
import { stateOfCode } from "./state-names.ts";

/** The listening ports of a server and the connections behind them. */
export type ListenerView = {
  /** Sockets whose local port is one of these: the server's side. */
  readonly server: StateCounts;
  /** Sockets whose remote port is one of these: the clients' side, as far as they are on this machine. */
  readonly clients: StateCounts;
  /** Connections that wait for accept(2): Recv-Q of the LISTEN rows. */
  readonly queued: number;
  /** Listening sockets on other ports of this network namespace. */
  readonly otherListeners: number;
};

/** Looks at a socket table from the point of view of a server that listens on `ports`. */
export function listenerView(
  records: readonly SocketRecord[],
  ports: ReadonlySet<SocketRecord["local"]["port"]>,
): ListenerView {
  const tcp = records.filter((record) => record.protocol === "tcp");
  const listeners = tcp.filter((record) => record.state === "LISTEN");
  const ours = listeners.filter((record) => ports.has(record.local.port));
  return {
    server: countStates(tcp.filter((record) => ports.has(record.local.port))),
    clients: countStates(tcp.filter((record) => ports.has(record.remote.port))),
    queued: ours.reduce((sum, record) => sum + (record.recvQ ?? 0), 0),
    otherListeners: listeners.length - ours.length,
  };
}

/** Whose the sockets are that have nothing to do with the ports: nobody's, or, in a network without strangers, clients' too. */
export type Others = "apart" | "clients";

/**
 * The same from the texts of /proc/net/tcp and tcp6, without a record for each row: for programs that look often, while
 * they are part of what they look at. Rows that are cut short (the table changed while it was read) are passed over.
 */
export function procListenerView(
  tables: readonly string[],
  ports: ReadonlySet<number>,
  others: Others = "apart",
): ListenerView {
  const tally = new ProcListenerTally(ports, others);
  for (const text of tables) tally.add(text);
  return tally.view();
}

/** The same again, piece by piece: for tables that are read while something else goes on. */
export class ProcListenerTally {
  readonly #seen: Counting;

  constructor(ports: ReadonlySet<number>, others: Others = "apart") {
    const [server, clients] = [emptyCounts(), emptyCounts()];
    this.#seen = { ports, others, server, clients, queued: 0, otherListeners: 0 };
  }

  /** Counts the rows of a table, or of a piece of one that begins and ends with a line. */
  add(text: string): void {
    let start = text.startsWith(HEADER) ? text.indexOf("\n") + 1 : 0;
    while (start < text.length) {
      addRow(this.#seen, text, start);
      start = text.indexOf("\n", start) + 1 || text.length;
    }
  }

  view(): ListenerView {
    const { server, clients, queued, otherListeners } = this.#seen;
    return { server, clients, queued, otherListeners };
  }
}

const HEADER = "  sl ";

type End = Pick<SocketRecord["local"], "address" | "port">;

/** Is a socket bound to `bound` the one that has this end? 0.0.0.0 and :: are every address. */
export function isBoundTo(bound: End, end: End): boolean {
  const isAny = bound.address === "0.0.0.0" || bound.address === "::";
  return bound.port === end.port && (isAny || bound.address === end.address);
}

/** The ports on which somebody listens, from the texts of /proc/net/tcp and tcp6. */
export function procListeningPorts(tables: readonly string[]): ReadonlySet<number> {
  const ports = new Set<number>();
  for (const text of tables)
    for (const [, port = ""] of text.matchAll(LISTENING)) ports.add(Number.parseInt(port, 16));
  return ports;
}

const LISTENING = /^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm;

type Counting = {
  readonly ports: ReadonlySet<number>;
  readonly others: Others;
  readonly server: Record<TcpState, number>;
  readonly clients: Record<TcpState, number>;
  queued: number;
  otherListeners: number;
};

/** `  31: F302A8C0:A296 CED43AD8:01BB 06 00000000:00000000 ...`: after the row's number all columns are of fixed width. */
function addRow(view: Counting, text: string, start: number): void {
  const local = text.indexOf(": ", start) + 2;
  const localPort = text.indexOf(":", local) + 1;
  const remotePort = localPort + 5 + (localPort - local);
  const state = stateOfCode(hex(text, remotePort + 5, 2));
  if (local === 1 || state === undefined) return;
  const isServer = view.ports.has(hex(text, localPort, 4));
  const isElse = view.others === "clients" && !isServer && state !== "LISTEN";
  if (isServer) view.server[state] += 1;
  if (isElse || view.ports.has(hex(text, remotePort, 4))) view.clients[state] += 1;
  if (state !== "LISTEN") return;
  if (isServer) view.queued += hex(text, remotePort + 17, 8);
  else view.otherListeners += 1;
}

function hex(text: string, start: number, digits: number): number {
  return Number.parseInt(text.slice(start, start + digits), 16);
}
