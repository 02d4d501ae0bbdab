/** trace-json: an analysis as data for other programs. Times in microseconds after the first packet. */
import type { Analysis } from "../trace/analysis.ts";
import type { Row } from "../trace/timeline.ts";

/** Version 1 of the format. Strings of digits are avoided: every number is one. */
export function traceJson(analysis: Analysis): string {
  const { timeline, recording, conversations, scenario, clock, cost } = analysis;
  const zeroNs = timeline?.zeroNs ?? 0n;
  const us = (ns: bigint): number => Number(ns - zeroNs) / 1_000;
  return JSON.stringify({
    version: 1,
    scenario: scenario ?? null,
    programs: recording.traced.map(({ role, command, exitCode }) => ({ role, command, exitCode })),
    zero: timeline === undefined ? null : new Date(Number(zeroNs / 1_000_000n)).toISOString(),
    conversations: conversations.map(({ protocol, client, server, packets }) => ({
      ...{ protocol, client, server },
      packets: packets.length,
    })),
    shown: timeline === undefined ? null : conversations.indexOf(timeline.conversation),
    rows: (timeline?.rows ?? []).map((row) => ({ atUs: us(row.atNs), ...rowJson(row) })),
    clock: clock ?? null,
    cost: cost ?? null,
    workloads: analysis.workloads,
    packets: analysis.packets,
    notes: recording.notes,
    checks: analysis.checks,
  });
}

function rowJson(row: Row): object {
  if (row.kind === "timer") return { kind: row.kind, side: row.side, states: row.states };
  if (row.kind === "packet") {
    const { kind, side, protocol, packet, states } = row;
    return { kind, side, protocol, ...packet, ...(states === undefined ? {} : { states }) };
  }
  const { kind, side, name, fd, phase, facts, tookNs } = row;
  const tookUs = tookNs === undefined ? null : Number(tookNs) / 1_000;
  return { kind, side, name, fd, phase, tookUs, ...facts };
}
