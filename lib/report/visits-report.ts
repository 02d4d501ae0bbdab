/** visits-report: what a client saw, as a few lines of text. */

import type { FailureCounts } from "../protocol/errno.ts";
import type { VisitsSummary } from "../protocol/visits.ts";
import { ms, wrapped } from "./format.ts";

/** What ECONNREFUSED means, and what next. */
export const NOBODY_LISTENS =
  "nobody listens there. Start a server: make server (installed by npm: tcp-server)";

/** Lines such as `connected 23 of 23, echoes 23, left as planned 23`. */
export function visitsReport(visits: VisitsSummary): string {
  const { connections, connected, echoes, left, peerClosed, interrupted, connectMs } = visits;
  return [
    `connected ${connected} of ${connections}, echoes ${echoes}, left as planned ${left}`,
    ...(connectMs === undefined
      ? []
      : [
          `connect() p50 ${ms(connectMs.p50Ms)}, p99 ${ms(connectMs.p99Ms)}, max ${ms(connectMs.maxMs)}`,
        ]),
    ...(peerClosed > 0 ? [`closed by the server before we left: ${peerClosed}`] : []),
    ...(interrupted > 0 ? [`interrupted before they were connected: ${interrupted}`] : []),
    ...failureLines(visits.failures),
    ...(connected === 0 && visits.failures["ECONNREFUSED"] !== undefined ? [NOBODY_LISTENS] : []),
  ].join("\n");
}

/** Each errno with its count, the first failure of its kind quoted; lines of at most 80 columns after a margin. */
export function failureLines(failures: Readonly<FailureCounts>, margin = ""): readonly string[] {
  return Object.entries(failures).map(([errno, { count, first, syscalls }]) => {
    const calls = Object.entries(syscalls).map(([syscall, times]) => `${syscall} ${times}`);
    const shared = calls.length > 1 ? `: ${calls.join(", ")}` : "";
    return wrapped(`${errno} ${count}${shared} (the first: ${first})`, margin);
  });
}
