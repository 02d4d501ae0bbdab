/** listening: servers with room for all who come, and when one is ready that does not say so. */
import { setTimeout as pause } from "node:timers/promises";
import { readProcNet } from "../../lib/sockets/capture.ts";

/**
 * For a server of ours: with the usual 511 a run now and then fills the accept queue, and a SYN that found no place is sent again
 * a second later (`lab explain accept-queue-overflow`). redis-server and the C programs have as much.
 */
export const DEEP_QUEUE: readonly string[] = ["--backlog", "4096"];

const DEADLINE_MS = 10_000;

/** Resolves when somebody listens on `port`; rejects after ten seconds. */
export async function untilListening(port: number): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  const isThere = (): boolean =>
    readProcNet().some(({ state, local }) => state === "LISTEN" && local.port === port);
  while (!isThere()) {
    if (performance.now() > endMs) throw new Error(`nobody listens on port ${port}`);
    await pause(20);
  }
}
