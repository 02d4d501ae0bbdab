/** groups: how sockets belong together. Pure. */
import { plainAddress } from "./identity.ts";
import {
  countStates,
  totalOf,
  type Endpoint,
  type SocketRecord,
  type StateCounts,
} from "./record.ts";

/** What sockets can be grouped by. */
export const GROUPINGS = ["port", "process", "remote", "state"] as const;

/** One of the groupings. */
export type Grouping = (typeof GROUPINGS)[number];

/** Sockets that belong together. */
export type Group = { readonly key: string; readonly counts: StateCounts; readonly total: number };

type Port = Endpoint["port"];

/**
 * Groups TCP records, the largest group first.
 *
 * `port` means the service: `:80` for the side that serves port 80 (something listens there), `->:443` for the side that
 * uses it, because ephemeral ports would be a group each. `process` counts a shared socket for each holder.
 *
 * @param served - the ports where something listens. Default those of `records`; a filter may have left the listeners out.
 */
export function groupBy(
  records: readonly SocketRecord[],
  grouping: Grouping,
  served: ReadonlySet<Port> = portsServed(records),
): readonly Group[] {
  const keysOf = grouping === "port" ? servicePort(records, served) : KEYS[grouping];
  const groups = new Map<string, SocketRecord[]>();
  for (const record of records) {
    if (record.protocol !== "tcp") continue;
    for (const key of keysOf(record)) {
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [record]);
      else group.push(record);
    }
  }
  return [...groups]
    .map(([key, members]) => groupOf(key, members))
    .sort((one, other) => other.total - one.total || (one.key < other.key ? -1 : 1));
}

function portsServed(records: readonly SocketRecord[]): ReadonlySet<Port> {
  return new Set(records.filter(({ state }) => state === "LISTEN").map(({ local }) => local.port));
}

function groupOf(key: string, members: readonly SocketRecord[]): Group {
  const counts = countStates(members);
  return { key, counts, total: totalOf(counts) };
}

type Keys = (record: SocketRecord) => readonly string[];

const KEYS: Readonly<Record<Exclude<Grouping, "port">, Keys>> = {
  process: ({ owners }) =>
    owners.length === 0
      ? ["(no owner)"]
      : [...new Set(owners.map(({ pid, name }) => `${name ?? "?"} (${pid})`))],
  remote: ({ remote }) => [remote.port === null ? "(none)" : plainAddress(remote.address)],
  state: ({ state }) => [state ?? "(no state)"],
};

function servicePort(records: readonly SocketRecord[], served: ReadonlySet<Port>): Keys {
  const isServed =
    served.size > 0 ? ({ local }: SocketRecord) => served.has(local.port) : sharedMore(records);
  return (record) => {
    const { local, remote } = record;
    return isServed(record) || remote.port === null
      ? [`:${local.port ?? "*"}`]
      : [`->:${remote.port}`];
  };
}

/**
 * Which side serves, where no listener is to be seen (`ss -tn`): many clients share the port of a service, and an ephemeral
 * port has one. Between equals it is the lower port.
 */
function sharedMore(records: readonly SocketRecord[]): (record: SocketRecord) => boolean {
  const locals = tallyOf(records.map(({ local }) => local.port));
  const remotes = tallyOf(records.map(({ remote }) => remote.port));
  return ({ local, remote }) => {
    const more = (locals.get(local.port) ?? 0) - (remotes.get(remote.port) ?? 0);
    return more === 0 ? rankOf(local.port) < rankOf(remote.port) : more > 0;
  };
}

function tallyOf(ports: readonly Port[]): ReadonlyMap<Port, number> {
  const counts = new Map<Port, number>();
  for (const port of ports) counts.set(port, (counts.get(port) ?? 0) + 1);
  return counts;
}

/** Only services have names. */
function rankOf(port: Port): number {
  return typeof port === "number" ? port : 0;
}
