/** visits: many visits at once, and what they saw together. */
import { setMaxListeners } from "node:events";
import { countFailure, type FailureCounts } from "./errno.ts";
import { Pace } from "./pace.ts";
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
  /** Never connected, or never begun, when the signal came. */
  readonly interrupted: number;
  readonly failures: FailureCounts;
  readonly connectMs: Percentiles | undefined;
};

/**
 * Makes `connections` visits, all at the same time or at most `perSecond` of them started per second, and sums up when the
 * last one is over. After the signal none is started.
 */
export async function visitAll(
  connections: number,
  options: VisitOptions,
  perSecond = Infinity,
): Promise<VisitsSummary> {
  const { signal } = options;
  setMaxListeners(0, signal); // One listener for each visit: no leak.
  const visits: Promise<Visit>[] = [];
  const pace = new Pace(perSecond);
  while (visits.length < connections) {
    if (perSecond !== Infinity) await pace.turn(signal);
    if (signal.aborted) break;
    visits.push(visit(options));
  }
  return sumUp(connections, await Promise.all(visits));
}

function sumUp(connections: number, visits: readonly Visit[]): VisitsSummary {
  const failures: FailureCounts = {};
  const latencies = new Latencies();
  const endings = { left: 0, "peer-closed": 0, failed: 0, interrupted: 0 };
  for (const { connectMs, ending } of visits) {
    endings[ending.kind] += 1;
    if (ending.kind === "failed") countFailure(failures, ending);
    if (connectMs !== undefined) latencies.record(connectMs);
  }
  return {
    connections,
    connected: visits.filter(({ connectMs }) => connectMs !== undefined).length,
    echoes: visits.reduce((sum, { echoes }) => sum + echoes, 0),
    left: endings.left,
    peerClosed: endings["peer-closed"],
    interrupted: endings.interrupted + connections - visits.length,
    failures,
    connectMs: latencies.summary(),
  };
}
