/**
 * samples: the socket table, looked at again and again while a recording runs, and what it said compared with what the packets say.
 */
import { TIME_WAIT_MS } from "../kernel/ports.ts";
import type { SocketRecord, TcpState } from "../sockets/record.ts";
import { plain } from "./endpoints.ts";
import type { Conversation } from "./conversations.ts";
import { firstWhere } from "./search.ts";
import { otherSide, type Side, type StateChange } from "./states.ts";
import type { PacketEnd } from "./tcpdump.ts";

/** The TCP sockets of a network at one time. */
export type Sample = {
  /** Nanoseconds since 1970, as text: this travels as JSON. The table was read between these two. */
  readonly fromNs: string;
  readonly toNs: string;
  readonly rows: readonly SampleRow[];
  /** How many readings in a row showed the same as the one before; this is the last of them. */
  readonly repeats: number;
};

/** One socket of it. */
export type SampleRow = {
  readonly local: string;
  readonly remote: string;
  readonly state: TcpState;
  /** For LISTEN: connections that wait for accept(). */
  readonly recvQ: number;
  readonly timer?: { readonly name: string; readonly remainingMs: number };
};

/** A socket in the form in which it is compared. */
export function sampleRow(record: SocketRecord): SampleRow {
  const { local, remote, state, recvQ, timer } = record;
  return {
    local: `${plain(local.address)}:${local.port}`,
    remote: `${plain(remote.address)}:${remote.port}`,
    state: state ?? "CLOSE",
    recvQ: recvQ ?? 0,
    ...(timer === undefined ? {} : { timer: { name: timer.name, remainingMs: timer.remainingMs } }),
  };
}

/** A reading of the table that the packets do not explain. */
export type Disagreement = {
  readonly side: Side;
  readonly atNs: bigint;
  readonly seen: TcpState;
  readonly derived: readonly TcpState[];
};

/** How readings and packets compare. */
export type Comparison = {
  /** Readings that were compared, both sides counted. */
  readonly compared: number;
  /** The states that were seen in them. */
  readonly seen: Readonly<Record<Side, readonly TcpState[]>>;
  readonly disagreements: readonly Disagreement[];
};

/**
 * A packet is stamped on its way from one side to the other: the sender's state has changed before, the receiver's changes after. And
 * the reader's clock is not read in the kernel. Within this much of a packet either state is right.
 */
export const SLACK_NS = 500_000n;

/** Compares every reading since the first packet with the states that the packets lead to. */
export function compare(
  conversation: Conversation,
  changes: readonly StateChange[],
  samples: readonly Sample[],
): Comparison {
  const seen: Record<Side, Set<TcpState>> = { client: new Set(), server: new Set() };
  const disagreements: Disagreement[] = [];
  let compared = 0;
  const ends = { client: endOf(conversation.client), server: endOf(conversation.server) };
  const spans = { client: spansOf(changes, "client"), server: spansOf(changes, "server") };
  const begin = changes[0]?.atNs;
  for (const { fromNs, toNs, rows, repeats } of begin === undefined ? [] : samples) {
    const [from, to] = [BigInt(fromNs), BigInt(toNs)];
    if (from < (begin ?? 0n)) continue;
    compared += 2 * (repeats + 1);
    for (const [side, local, remote] of [
      ["client", ends.client, ends.server],
      ["server", ends.server, ends.client],
    ] as const) {
      const state =
        rows.find((row) => row.local === local && row.remote === remote)?.state ?? "CLOSE";
      if (state !== "CLOSE") seen[side].add(state);
      const derived = statesBetween(spans[side], from - SLACK_NS, to + SLACK_NS);
      if (!derived.includes(state)) disagreements.push({ side, atNs: to, seen: state, derived });
    }
  }
  return {
    compared,
    seen: { client: [...seen.client], server: [...seen.server] },
    disagreements,
  };
}

const TIME_WAIT_NS = BigInt(TIME_WAIT_MS) * 1_000_000n;

/** When the socket in TIME_WAIT left the table, and whose it was; undefined when it was still there at the end, or never. */
export function timeWaitEnd(
  { client, server }: Conversation,
  samples: readonly Sample[],
): { readonly side: Side; readonly atNs: bigint } | undefined {
  const ends = { client: endOf(client), server: endOf(server) };
  const holder = ({ rows }: Sample): Side | undefined =>
    SIDES.find((side) =>
      rows.some(
        ({ state, local, remote }) =>
          state === "TIME_WAIT" && local === ends[side] && remote === ends[otherSide(side)],
      ),
    );
  const last = samples.findLastIndex((sample) => holder(sample) !== undefined);
  const [sample, next] = [samples[last], samples[last + 1]];
  const side = sample === undefined ? undefined : holder(sample);
  return side === undefined || next === undefined ? undefined : { side, atNs: BigInt(next.fromNs) };
}

const SIDES = ["client", "server"] as const;

function endOf({ address, port }: PacketEnd): string {
  return `${address}:${port}`;
}

/** A side's state, and from when to when. */
type Span = { readonly state: TcpState; readonly beginNs: bigint; readonly endNs: bigint };

/** The states of a side in the order of time, for ever. One without a socket of its own, LISTEN included, is CLOSE. */
function spansOf(changes: readonly StateChange[], side: Side): readonly Span[] {
  const spans = changes.flatMap(({ atNs, states, between }, index): readonly Span[] => {
    const nextNs = changes[index + 1]?.atNs;
    const state = states[side] === "LISTEN" ? "CLOSE" : states[side];
    const span = { state, beginNs: atNs, endNs: nextNs ?? FOREVER_NS };
    const passed = between?.[side];
    if (passed === undefined) return [span];
    return [{ state: passed, beginNs: atNs, endNs: nextNs ?? atNs }, span];
  });
  const [first, last] = [spans[0], spans.at(-1)];
  if (first === undefined || last === undefined) return [];
  const before = { state: "CLOSE", beginNs: 0n, endNs: first.beginNs } as const;
  const goneNs = last.state === "TIME_WAIT" ? last.beginNs + TIME_WAIT_NS - TIMER_NS : FOREVER_NS;
  return [before, ...spans, { state: "CLOSE", beginNs: goneNs, endNs: FOREVER_NS }];
}

/** All states that a side may have been in within a span of time. */
function statesBetween(spans: readonly Span[], fromNs: bigint, toNs: bigint): readonly TcpState[] {
  const begin = firstWhere(spans, ({ endNs }) => endNs >= fromNs);
  const end = firstWhere(spans, ({ beginNs }) => beginNs > toNs);
  return [...new Set(spans.slice(begin, end).map(({ state }) => state))];
}

const FOREVER_NS = 2n ** 63n;
/** The kernel rounds long timers up to a wheel of their own size; how early or late this one is, is not asked here. */
const TIMER_NS = 1_000_000_000n;
