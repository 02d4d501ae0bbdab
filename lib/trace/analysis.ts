/** analysis: what a recording says: conversations, the timeline of one of them, and checks of it. */
import { checksFor } from "./checks.ts";
import type { Check } from "./view.ts";
import { clockBounds, type ClockBounds } from "./clock.ts";
import { gather, ownFirst, type Gathered } from "./conversations.ts";
import { socketCalls, type SocketCall } from "./descriptors.ts";
import type { Recording, Traced } from "./order.ts";
import { compare, type Comparison } from "./samples.ts";
import { SCENARIOS, type ScenarioName } from "./scenarios.ts";
import { followStates } from "./states.ts";
import { parseStrace } from "./strace.ts";
import { parseTcpdump, type Packet } from "./tcpdump.ts";
import { timelineOf, type Timeline } from "./timeline.ts";

/** What watching costs: how long the shown conversation took, from its first packet to its last, and how long without strace. */
export type Cost = { readonly tracedMs: number; readonly bareMs: number };

/** How much work a side did, all conversations together. */
export type Workload = {
  readonly role: Traced["role"];
  /** System calls on sockets, by name. */
  readonly calls: Readonly<Record<string, number>>;
};

/** A recording, understood. */
export type Analysis = {
  readonly recording: Recording;
  readonly scenario: ScenarioName | undefined;
  readonly conversations: readonly Gathered[];
  /** The one that is shown; undefined when nothing was seen. */
  readonly timeline: Timeline | undefined;
  readonly clock: ClockBounds | undefined;
  readonly cost: Cost | undefined;
  /** Undefined without packets of TCP, or without a look at the socket table. */
  readonly comparison: Comparison | undefined;
  readonly workloads: readonly Workload[];
  readonly packets: number;
  readonly checks: readonly Check[];
};

/** Understands a recording. `focus` picks the conversation to show, counted from 0; a scenario has its own. */
export function analyse(recording: Recording, scenario?: ScenarioName, focus = 0): Analysis {
  const all = parseTcpdump(recording.tcpdump).packets;
  const bareFrom = recording.bareFromNs === undefined ? undefined : BigInt(recording.bareFromNs);
  const packets = all.filter(({ atNs }) => bareFrom === undefined || atNs < bareFrom);
  const bare = all.filter(({ atNs }) => bareFrom !== undefined && atNs >= bareFrom);
  const calls = recording.traced.map(({ strace }) => socketCalls(parseStrace(strace).calls));
  const found = gather(packets, calls.flat());
  const conversations = scenario === undefined ? ownFirst(found, calls.flat()) : found;
  const isLast = scenario !== undefined && SCENARIOS[scenario].focus === "last";
  const shown = isLast ? conversations.at(-1) : conversations[focus];
  const timeline = shown === undefined ? undefined : timelineOf(shown, recording.samples);
  const seen = {
    recording: { ...recording, notes: [...recording.notes, ...strangeness(shown, scenario)] },
    scenario,
    conversations,
    timeline,
    clock: timeline === undefined ? undefined : clockBounds(timeline),
    cost: shown === undefined ? undefined : costOf(shown, bare, isLast),
    comparison: shown === undefined ? undefined : comparisonOf(shown, recording),
    workloads: calls.map((some, index) =>
      workload(recording.traced[index]?.role ?? "command", some),
    ),
    packets: packets.length,
  };
  return { ...seen, checks: checksFor(seen) };
}

function strangeness(shown: Gathered | undefined, scenario: ScenarioName | undefined): string[] {
  if (scenario !== undefined || shown?.calls.length !== 0) return [];
  return [
    "no call of what was traced belongs to this connection: it may be somebody else's in the same network",
  ];
}

function comparisonOf(shown: Gathered, { samples }: Recording): Comparison | undefined {
  if (shown.protocol !== "tcp" || shown.packets.length === 0 || samples.length === 0)
    return undefined;
  const isListening = shown.packets.some(
    ({ from, packet }) => from === "server" && packet.flags.includes("SYN"),
  );
  return compare(shown, followStates(shown.packets, isListening), samples);
}

function costOf(shown: Gathered, bare: readonly Packet[], isLast: boolean): Cost | undefined {
  const same = gather(bare, []);
  const other = isLast ? same.at(-1) : same[0];
  if (other === undefined) return undefined;
  return { tracedMs: spanMs(shown), bareMs: spanMs(other) };
}

function spanMs({ packets }: Gathered): number {
  const [first, last] = [packets[0], packets.at(-1)];
  if (first === undefined || last === undefined) return 0;
  return Number(last.packet.atNs - first.packet.atNs) / 1e6;
}

function workload(role: Traced["role"], calls: readonly SocketCall[]): Workload {
  const counts: Record<string, number> = {};
  // One epoll_wait() may bring events for many sockets, and is still one call.
  for (const call of new Set(calls.map(({ call }) => call)))
    counts[call.name] = (counts[call.name] ?? 0) + 1;
  return { role, calls: counts };
}
