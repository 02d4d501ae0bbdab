/**
 * counters: what the kernel's TCP stack has counted in this network namespace.
 *
 * Names are those of nstat(8): the prefix of the line and the name of the column, `TcpActiveOpens`, `TcpExtTW`. In a fresh
 * namespace all start at 0. Sources: /proc/net/snmp (RFC 1213, RFC 4022), /proc/net/netstat, /proc/net/sockstat;
 * net/ipv4/proc.c in the kernel.
 */
import { readFileSync } from "node:fs";

/** Counter name to value; every counter that this kernel has. */
export type Counters = Readonly<Record<string, number>>;

/** Reads all TCP and IP counters of a process's network namespace; throws ENOENT when there is no such process. */
export function readCounters(pid: number | "self" = "self"): Counters {
  const read = (file: string): string => readFileSync(`/proc/${pid}/net/${file}`, "latin1");
  return parseCounters(`${read("snmp")}\n${read("netstat")}`);
}

/** Reads the text of /proc/net/snmp or /proc/net/netstat: pairs of lines, names above and values below. */
export function parseCounters(text: string): Counters {
  const lines = text.split("\n").filter((line) => line !== "");
  const counters: Record<string, number> = Object.create(null) as Record<string, number>;
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [prefix = "", ...names] = lines[i]?.split(" ") ?? [];
    const [, ...values] = lines[i + 1]?.split(" ") ?? [];
    names.forEach(
      (name, column) => (counters[prefix.slice(0, -1) + name] = Number(values[column])),
    );
  }
  return counters;
}

/** One counter; throws a RangeError when this kernel has none of that name, so that a typing error cannot read as 0. */
export function counter(counters: Counters, name: string): number {
  const value = counters[name];
  if (value === undefined) throw new RangeError(`this kernel has no counter ${name}`);
  return value;
}

/** What was counted between two readings; only counters that moved. */
export function counterDelta(before: Counters, after: Counters): Counters {
  const moved = Object.entries(after)
    .map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
    .filter(([, difference]) => difference !== 0);
  return Object.fromEntries(moved);
}

/** The TCP line of /proc/net/sockstat. `orphan` and `memPages` count for the whole machine, the others for the namespace. */
export type Sockstat = {
  readonly inuse: number;
  readonly orphan: number;
  readonly timeWait: number;
  readonly alloc: number;
  readonly memPages: number;
};

/** Reads /proc/net/sockstat: cheap at any number of sockets, where a walk of the socket table is not. */
export function readSockstat(): Sockstat {
  return parseSockstat(readFileSync("/proc/net/sockstat", "latin1"));
}

/** Reads the text of /proc/net/sockstat. */
export function parseSockstat(text: string): Sockstat {
  const words = (/^TCP: (.*)$/m.exec(text)?.[1] ?? "").split(" ");
  const value = (name: string): number => Number(words[words.indexOf(name) + 1]);
  return {
    inuse: value("inuse"),
    orphan: value("orphan"),
    timeWait: value("tw"),
    alloc: value("alloc"),
    memPages: value("mem"),
  };
}
