/** visits: many visits at once, and what they saw together. */
import { setMaxListeners } from "node:events";
import { setTimeout as pauseMs } from "node:timers/promises";
import { countFailure, type FailureCounts } from "./errno.ts";
import { Latencies, type Percentiles } from "./percentiles.ts";
import { visit, type Visit, type VisitOptions } from "./visit.ts";

/** The sum of many visits. */
export type VisitsSummary = {
  readonly connections: number;
  readonly connected: number;
  /** Echoes that came back whole. */
  readonly echoes: number;
  /** Left by us, as planned. */
  readonly left: number;
  /** Closed by the peer before we left. */
  readonly peerClosed: number;
  readonly failures: FailureCounts;
  readonly connectMs: Percentiles | undefined;
};

/**
 * Makes `connections` visits, all at the same time or at most `perSecond` of them started per second, and sums up when the
 * last one is over.
 */
export async function visitAll(
  connections: number,
  options: VisitOptions,
  perSecond = Infinity,
): Promise<VisitsSummary> {
  setMaxListeners(0, options.signal); // One listener for each visit: no leak.
  const visits: Promise<Visit>[] = [];
  for (let started = 0; started < connections; started += 1) {
    if (perSecond !== Infinity) await pauseMs(1_000 / perSecond);
    visits.push(visit(options));
  }
  return sumUp(await Promise.all(visits));
}

/** Adds visits up. */
export function sumUp(visits: readonly Visit[]): VisitsSummary {
  const failures: FailureCounts = {};
  const latencies = new Latencies();
  const endings = { left: 0, "peer-closed": 0, failed: 0 };
  for (const { connectMs, ending } of visits) {
    endings[ending.kind] += 1;
    if (ending.kind === "failed") countFailure(failures, ending);
    if (connectMs !== undefined) latencies.record(connectMs);
  }
  return {
    connections: visits.length,
    connected: visits.filter(({ connectMs }) => connectMs !== undefined).length,
    echoes: visits.reduce((sum, { echoes }) => sum + echoes, 0),
    left: endings.left,
    peerClosed: endings["peer-closed"],
    failures,
    connectMs: latencies.summary(),
  };
}
