/** server-report: what a server says about itself: a status line, and plain words when it runs out of descriptors. */

/** What a server knows at one instant, from itself and from the kernel. */
export type ServerStatus = {
  readonly address: string;
  readonly accepted: number;
  readonly open: number;
  readonly descriptors: {
    readonly open: number;
    readonly limit: number;
    readonly isExhausted: boolean;
  };
  readonly closeWait: number;
  /** Connections that wait in the accept queue. */
  readonly queued: number;
  /** Handshakes that the kernel completed for this listener, or for all of its namespace when others listen there too. */
  readonly passiveOpens: number;
  readonly otherListeners: number;
  /** Has it ever been out of descriptors? */
  readonly wasExhausted: boolean;
};

/** Connections that were completed by the kernel, but never shown to the program. */
export function shedCount({ wasExhausted, passiveOpens, accepted, queued }: ServerStatus): number {
  return wasExhausted ? Math.max(0, passiveOpens - accepted - queued) : 0;
}

/** One line of at most 80 columns for an address of usual length. */
export function statusLine(status: ServerStatus): string {
  const { address, accepted, open, descriptors, closeWait } = status;
  const shed = shedCount(status);
  return [
    address,
    `accepted ${accepted}`,
    `open ${open}`,
    `descriptors ${descriptors.open}/${descriptors.limit}`,
    `CLOSE_WAIT ${closeWait}`,
    ...(status.queued > 0 ? [`queued ${status.queued}`] : []),
    ...(shed > 0 ? [`shed ${shed}`] : []),
  ].join("  ");
}

/** What has happened when the descriptors ran out, how many connections it cost, and how we know. */
export function exhaustionReport(status: ServerStatus): string {
  const { descriptors, passiveOpens, accepted, queued, otherListeners, closeWait } = status;
  const cause =
    closeWait > 0
      ? `${closeWait} of them are sockets in CLOSE_WAIT: the peer has closed, this program has not. That is a leak.`
      : "None is in CLOSE_WAIT: the connections are in use. That is load, not a leak.";
  return [
    `Out of descriptors: ${descriptors.open} open, limit ${descriptors.limit}; a trial open("/dev/null") fails with EMFILE.`,
    cause,
    "Node reports nothing: libuv accepts each further connection and closes it at once, without an event.",
    `${shedWords(status)}: ${passiveOpens} handshakes (TcpPassiveOpens) - ${accepted} seen by the program - ${queued} in the accept queue.`,
    ...(otherListeners > 0
      ? [
          `"At most", for ${otherListeners} other listeners in this network namespace count there too.`,
        ]
      : []),
    "Ways out: close what is leaked; a higher limit (ulimit -n, prlimit, LimitNOFILE=); server.maxConnections.",
  ].join("\n");
}

function shedWords(status: ServerStatus): string {
  const atMost = status.otherListeners > 0 ? "at most " : "";
  return `Shed unseen so far: ${atMost}${shedCount(status)}`;
}
