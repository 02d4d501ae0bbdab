/** listening: waits for a server that does not say when it is ready. */
import { setTimeout as pause } from "node:timers/promises";
import { readProcNet } from "../../lib/sockets/capture.ts";

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
