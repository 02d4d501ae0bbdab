/** visits: many visits at once, and what they saw together. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { countFailure, type FailureCounts } from "./errno.ts";
import { Pace } from "./pace.ts";
import { Latencies, type Percentiles } from "./percentiles.ts";
import { Visitor, type Visit, type VisitOptions } from "./visit.ts";

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
 * Makes `connections` visits, at most `perSecond` of them started per second (0 for as fast as possible), and sums up when the last one is
 * over. All are there at the same time: nobody leaves before the last one has begun. After the signal none is started. Rejects as `visit()`.
 */
export async function visitAll(
  connections: number,
  options: VisitOptions,
  perSecond = 0,
): Promise<VisitsSummary> {
  const { signal } = options;
  const pace = perSecond === 0 ? undefined : new Pace(perSecond);
  let allHaveBegun = (): void => undefined;
  const mayLeave = new Promise<void>((resolve) => (allHaveBegun = resolve));
  const visits: Promise<Visit>[] = [];
  const underWay = new Set<Visitor>();
  // One listener for all: to take one of thousands from a signal, the signal searches for it.
  const stop = (): void => {
    for (const visitor of underWay) visitor.stop();
  };
  signal.addEventListener("abort", stop);
  try {
    while (visits.length < connections) {
      // Node calls connect(2) when whoever asked for it has come to an end, and hears a Ctrl-C only then.
      await (pace?.turn(signal) ?? nextTurn());
      if (signal.aborted) break;
      const visitor = new Visitor({ ...options, mayLeave });
      underWay.add(visitor);
      visits.push(visitor.seen.finally(() => underWay.delete(visitor)));
    }
    allHaveBegun();
    return sumUp(connections, await Promise.all(visits));
  } finally {
    signal.removeEventListener("abort", stop);
  }
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
