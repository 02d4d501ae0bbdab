/** filter: which sockets are meant, and how they belong together. Pure. */
import { plainAddress } from "./identity.ts";
import { isAt, type Place } from "./place.ts";
import {
  countStates,
  totalOf,
  type SocketRecord,
  type StateCounts,
  type TcpState,
} from "./record.ts";
import type { Predicate } from "./sinks.ts";

/** Conditions that a record must all meet; those left out are met by all. */
export type SocketFilter = {
  /** On either side. */
  readonly port?: number | undefined;
  /** On this side; see placesNamed(). */
  readonly local?: readonly Place[] | undefined;
  /** The same on the other side. */
  readonly remote?: readonly Place[] | undefined;
  readonly states?: readonly TcpState[] | undefined;
  readonly pid?: number | undefined;
  readonly family?: 4 | 6 | undefined;
};

/** The predicate of a filter; undefined when the filter lets everything through. */
export function predicateOf(filter: SocketFilter): Predicate | undefined {
  const conditions = conditionsOf(filter);
  if (conditions.length === 0) return undefined;
  return (record) => conditions.every((condition) => condition(record));
}

function conditionsOf({ port, local, remote, states, pid, family }: SocketFilter): Predicate[] {
  const conditions: (Predicate | undefined)[] = [
    port === undefined ? undefined : (it) => it.local.port === port || it.remote.port === port,
    local === undefined ? undefined : (it) => isAt(it.local, local),
    remote === undefined ? undefined : (it) => isAt(it.remote, remote),
    states === undefined ? undefined : (it) => it.state !== undefined && states.includes(it.state),
    pid === undefined ? undefined : (it) => it.owners.some((owner) => owner.pid === pid),
    family === undefined ? undefined : (it) => it.family === family,
  ];
  return conditions.filter((condition) => condition !== undefined);
}

/** What sockets can be grouped by. */
export const GROUPINGS = ["port", "process", "remote", "state"] as const;

/** One of the groupings. */
export type Grouping = (typeof GROUPINGS)[number];

/** Sockets that belong together. */
export type Group = { readonly key: string; readonly counts: StateCounts; readonly total: number };

/**
 * Groups TCP records, the largest group first.
 *
 * `port` means the service: `:80` for the side that serves port 80 (something listens there), `->:443` for the side that
 * uses it, because ephemeral ports would be a group each. `process` counts a shared socket for each holder.
 */
export function groupBy(records: readonly SocketRecord[], grouping: Grouping): readonly Group[] {
  const keysOf = keysFor(grouping, records);
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

function groupOf(key: string, members: readonly SocketRecord[]): Group {
  const counts = countStates(members);
  return { key, counts, total: totalOf(counts) };
}

function keysFor(
  grouping: Grouping,
  records: readonly SocketRecord[],
): (record: SocketRecord) => readonly string[] {
  switch (grouping) {
    case "port":
      return servicePort(records);
    case "process":
      return ({ owners }) =>
        owners.length === 0
          ? ["(no owner)"]
          : [...new Set(owners.map(({ pid, name }) => `${name ?? "?"} (${pid})`))];
    case "remote":
      return ({ remote }) => [remote.port === null ? "(none)" : plainAddress(remote.address)];
    case "state":
      return ({ state }) => [state ?? "(no state)"];
  }
}

function servicePort(records: readonly SocketRecord[]): (record: SocketRecord) => string[] {
  const served = new Set(
    records.filter(({ state }) => state === "LISTEN").map(({ local }) => local.port),
  );
  return ({ local, remote }) =>
    served.has(local.port) || remote.port === null
      ? [`:${local.port ?? "*"}`]
      : [`->:${remote.port}`];
}
