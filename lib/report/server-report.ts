/** server-report: what a server says about itself: a status line, and plain words when it runs out of descriptors. */

import { wrapped } from "./format.ts";
import type { ServerStatus } from "../programs/server.ts";

/** One line of at most 80 columns for an address of usual length; where connections were shed, how many are open says little. */
export function statusLine(status: ServerStatus): string {
  const { address, accepted, open, descriptors, closeWait, shed, queued } = status;
  return [
    address,
    `accepted ${accepted}`,
    shed > 0 ? `shed ${status.otherListeners > 0 ? "<= " : ""}${shed}` : `open ${open}`,
    `CLOSE_WAIT ${closeWait}`,
    `descriptors ${descriptors.open}/${descriptors.limit}`,
    ...(queued > 0 ? [`queued ${queued}`] : []),
  ].join("  ");
}

/** What has happened when the descriptors ran out, how many connections it cost, and how we know. */
export function exhaustionReport(status: ServerStatus): string {
  const { descriptors, passiveOpens, accepted, open, queued, otherListeners, closeWait } = status;
  const sums = `${passiveOpens} handshakes (TcpPassiveOpens) - ${accepted} seen by the program - ${queued} in the accept queue.`;
  return [
    ...(descriptors.isExhausted
      ? [
          `Out of descriptors: ${descriptors.open} of ${descriptors.limit}. A trial open("/dev/null") fails: EMFILE.`,
          causeOf(Math.min(closeWait, open)),
        ]
      : [
          `Was out of descriptors for a while: all ${descriptors.limit} were in use, now ${descriptors.open} are. That was a burst; a leak does not go down.`,
        ]),
    "Node reports nothing: libuv accepts each further connection and closes it at once, without an event.",
    `Shed unseen so far: ${shedCount(status)}: ${sums}`,
    ...(otherListeners > 0
      ? [
          `"At most", for ${otherListeners} other listener(s) in this network namespace count there too.`,
        ]
      : []),
    "Ways out: close what is leaked; a higher limit (ulimit -n, prlimit, LimitNOFILE=); server.maxConnections.",
  ]
    .map((sentence) => wrapped(sentence))
    .join("\n");
}

/** The table is walked while it moves, and has who waits for accept(), too: of `closeWait` no more can be ours than the program has open. */
function causeOf(closeWait: number): string {
  return closeWait > 0
    ? `${closeWait} of them are sockets in CLOSE_WAIT: the peer has closed, this program has not. That is a leak.`
    : "None is in CLOSE_WAIT: no peer is known to have closed. The connections are in use, or idle, or their peers have vanished without a FIN: ss -tnio tells (lastrcv), --idle-timeout-ms ends the latter two.";
}

/** The kernel counts handshakes for all listeners of a network together. */
function shedCount({ shed, otherListeners }: ServerStatus): string {
  return otherListeners > 0 ? `at most ${shed}` : `${shed}`;
}
