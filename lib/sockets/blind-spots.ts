/** blind-spots: what each source cannot see. Data, because the table that shows a count has to show its limits too. */

/** Where a live table comes from. */
export const SOURCES = ["ss", "netstat", "lsof", "proc", "counters"] as const;

/** One of the live sources. */
export type Source = (typeof SOURCES)[number];

/**
 * One sentence per blind spot, at most 80 characters.
 *
 * SEE ss(8), netstat(8), lsof(8), proc_net_tcp(5); docs/reference/formats.md has the evidence.
 */
export const SOURCE_BLIND_SPOTS: Readonly<Record<Source, readonly string[]>> = {
  ss: [
    "Owners of other users' sockets need root; TIME_WAIT and SYN_RECV have no owner.",
    "Only this network namespace; sockets that are bound but unused are not listed.",
  ],
  netstat: [
    "Owners of other users' sockets need root; of several owners one is shown.",
    "Only this network namespace; bound but unused sockets are not listed.",
  ],
  lsof: [
    "Lists descriptors: no TIME_WAIT, no SYN_RECV, nothing that waits for accept.",
    "Without root only your own processes; a shared socket counts for each holder.",
  ],
  proc: [
    "Owners come from /proc/PID/fd: without root only your own processes.",
    "Only this network namespace; bound but unused sockets are not listed.",
  ],
  counters: [
    "Of ESTABLISHED and CLOSE_WAIT the larger is the kernel's sum less the other.",
    "Of TIME_WAIT and FIN_WAIT2 the larger is the kernel's sum less the other, too.",
    "Three readings, not one instant: sockets that change meanwhile may count twice.",
  ],
};
