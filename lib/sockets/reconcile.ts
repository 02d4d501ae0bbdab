/**
 * reconcile: who says what about the same instant, and why they differ.
 *
 * The socket table of the kernel is read before and after the other observers: what is the same in both was there all
 * the time, and every observer must have seen it or have a reason not to. Pure.
 */
import { identityOf } from "./identity.ts";
import { countStates, type SocketRecord, type StateCounts, type TcpState } from "./record.ts";

/** What one observer saw between the two readings of the kernel's table. */
export type Observation = {
  /** `ss`, `netstat`, `lsof`, or `fd` for the descriptors in /proc/PID/fd. */
  readonly observer: string;
  readonly records: readonly SocketRecord[];
};

/** Everything that was observed. */
export type Observations = {
  /** /proc/net/tcp and tcp6, before and after the others. */
  readonly before: readonly SocketRecord[];
  readonly after: readonly SocketRecord[];
  readonly others: readonly Observation[];
  /** Numbers that the kernel keeps beside its table. */
  readonly kernel: readonly KernelNumber[];
};

/** A number that the kernel keeps, and what it should be by the table. */
export type KernelNumber = {
  readonly name: string;
  readonly value: number;
  readonly predict: (records: readonly SocketRecord[]) => number;
  /** What the number means, in one sentence. */
  readonly meaning: string;
};

/** Why an observer does not agree with the kernel's table. */
export type Difference = {
  readonly observer: string;
  readonly count: number;
  /** One sentence. */
  readonly reason: string;
  /** False for a difference that nothing explains. */
  readonly isExplained: boolean;
  /** Up to three of the sockets, to look for. */
  readonly examples: readonly string[];
};

/** Who says what. */
export type Reconciliation = {
  readonly columns: readonly { readonly observer: string; readonly counts: StateCounts }[];
  readonly kernel: readonly {
    readonly name: string;
    readonly value: number;
    readonly predicted: number;
    readonly meaning: string;
  }[];
  readonly differences: readonly Difference[];
  /** Sockets that came, went or changed while the observers looked: in no comparison. */
  readonly inMotion: number;
  /** True when every difference is explained and every number is as predicted, or sockets were in motion. */
  readonly isReconciled: boolean;
};

/** Compares all observers with the kernel's own table. */
export function reconcile({ before, after, others, kernel }: Observations): Reconciliation {
  const steady = commonTo(before, after);
  const inMotion = before.length - steady.length + after.length - steady.length;
  const differences = others.flatMap((other) =>
    differencesOf(other, steady, [...before, ...after]),
  );
  const numbers = kernel.map(({ name, value, predict, meaning }) => ({
    name,
    value,
    predicted: predict(after),
    meaning,
  }));
  return {
    columns: [
      { observer: "proc", counts: countStates(after) },
      ...others.map(({ observer, records }) => ({ observer, counts: countStates(records) })),
    ],
    kernel: numbers,
    differences,
    inMotion,
    isReconciled:
      differences.every(({ isExplained }) => isExplained) &&
      (inMotion > 0 || numbers.every(({ value, predicted }) => value === predicted)),
  };
}

function differencesOf(
  { observer, records }: Observation,
  steady: readonly SocketRecord[],
  ever: readonly SocketRecord[],
): Difference[] {
  const needsDescriptor = observer === "lsof" || observer === "fd";
  const { single, shared } = withoutShared(records);
  const missing = without(steady, single).map((record) => ({
    record,
    reason: needsDescriptor ? descriptorReason(record) : undefined,
  }));
  const extra = without(single, ever).map((record) => ({ record, reason: undefined }));
  return [
    ...grouped(observer, missing, "not seen, and nothing explains it"),
    ...grouped(observer, extra, "seen by nobody else, and nothing explains it"),
    ...(shared === 0
      ? []
      : [
          {
            observer,
            count: shared,
            reason: "listed once more for another process that holds the same socket",
            isExplained: true,
            examples: [],
          },
        ]),
  ];
}

/** Why a socket of the kernel's table is not among the descriptors of any process. */
function descriptorReason({ state, inode, owners }: SocketRecord): string | undefined {
  if (state === "TIME_WAIT") return "TIME_WAIT: closed on both sides, no process holds it any more";
  if (state === "SYN_RECV") return "SYN_RECV: not connected yet, it belongs to its listener";
  if (inode === 0)
    return CLOSED_BY_US.has(state)
      ? "closed by its program: the kernel finishes alone, without a descriptor"
      : "waits for accept(): it has no descriptor yet";
  return owners.length === 0 ? UNSEEN : undefined;
}

/** A descriptor may be on its way through a unix socket, or belong to a server inside the kernel: root cannot see those either. */
const UNSEEN =
  "held where we cannot look: by a process of another user or container, on its way to one, or by the kernel";

const CLOSED_BY_US: ReadonlySet<TcpState | undefined> = new Set([
  "FIN_WAIT1",
  "FIN_WAIT2",
  "CLOSING",
  "LAST_ACK",
  "CLOSE",
]);

function grouped(
  observer: string,
  found: readonly { readonly record: SocketRecord; readonly reason: string | undefined }[],
  otherwise: string,
): Difference[] {
  const groups = new Map<string | undefined, SocketRecord[]>();
  for (const { record, reason } of found) {
    const group = groups.get(reason);
    if (group === undefined) groups.set(reason, [record]);
    else group.push(record);
  }
  return [...groups].map(([reason, records]) => ({
    observer,
    count: records.length,
    reason: reason ?? otherwise,
    isExplained: reason !== undefined,
    examples: records.slice(0, 3).map(keyOf),
  }));
}

/** lsof lists a socket for every process that holds it. */
function withoutShared(records: readonly SocketRecord[]): {
  single: readonly SocketRecord[];
  shared: number;
} {
  const seen = new Set<number>();
  const single = records.filter(({ inode }) => {
    if (inode === undefined || inode === 0) return true;
    const isNew = !seen.has(inode);
    seen.add(inode);
    return isNew;
  });
  return { single, shared: records.length - single.length };
}

function keyOf(record: SocketRecord): string {
  return `${identityOf(record)} ${record.state ?? ""}`;
}

/** Those of `records` that have no partner in `others`. Two sockets may look the same: SO_REUSEPORT. */
function without(
  records: readonly SocketRecord[],
  others: readonly SocketRecord[],
): readonly SocketRecord[] {
  const partners = countKeys(others);
  return records.filter((record) => !takeOne(partners, keyOf(record)));
}

function commonTo(
  records: readonly SocketRecord[],
  others: readonly SocketRecord[],
): readonly SocketRecord[] {
  const partners = countKeys(others);
  return records.filter((record) => takeOne(partners, keyOf(record)));
}

function countKeys(records: readonly SocketRecord[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const record of records) counts.set(keyOf(record), (counts.get(keyOf(record)) ?? 0) + 1);
  return counts;
}

function takeOne(counts: Map<string, number>, key: string): boolean {
  const left = counts.get(key) ?? 0;
  if (left > 0) counts.set(key, left - 1);
  return left > 0;
}
