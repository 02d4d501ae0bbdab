/** listener: what a socket table says about a server. */
import { countStates, type SocketRecord, type StateCounts } from "./record.ts";

/** The listening ports of a server and the connections behind them. */
export type ListenerView = {
  /** Sockets whose local port is one of these: the server's side. */
  readonly server: StateCounts;
  /** Sockets whose remote port is one of these: the clients' side, as far as they are on this machine. */
  readonly clients: StateCounts;
  /** Connections that wait for accept(2), and how many may: Recv-Q and Send-Q of the LISTEN row. */
  readonly queued: number;
  readonly backlog: number;
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
    queued: sum(ours.map((record) => record.recvQ ?? 0)),
    backlog: sum(ours.map((record) => record.sendQ ?? 0)),
    otherListeners: listeners.length - ours.length,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
