/** listener: what a socket table says about one listening port. */
import { countStates, type SocketRecord, type StateCounts } from "./record.ts";

/** One listening port and the connections behind it. */
export type ListenerView = {
  /** Sockets whose local port this is: the server's side. */
  readonly server: StateCounts;
  /** Sockets whose remote port this is: the clients' side, as far as they are on this machine. */
  readonly clients: StateCounts;
  /** Connections that wait for accept(2), and how many may: Recv-Q and Send-Q of the LISTEN row. */
  readonly queued: number;
  readonly backlog: number;
  /** Listening sockets on other ports of this network namespace. */
  readonly otherListeners: number;
};

/** Looks at a socket table from the point of view of `port`. */
export function listenerView(records: readonly SocketRecord[], port: number): ListenerView {
  const tcp = records.filter((record) => record.protocol === "tcp");
  const listeners = tcp.filter((record) => record.state === "LISTEN");
  const ours = listeners.filter((record) => record.local.port === port);
  return {
    server: countStates(tcp.filter((record) => record.local.port === port)),
    clients: countStates(tcp.filter((record) => record.remote.port === port)),
    queued: sum(ours.map((record) => record.recvQ ?? 0)),
    backlog: sum(ours.map((record) => record.sendQ ?? 0)),
    otherListeners: listeners.length - ours.length,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
