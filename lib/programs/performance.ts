/**
 * performance: how many requests a server answers, and how long each takes. Prints nothing.
 *
 * A connection that is lost is not opened again; when none is left the run ends.
 */
import { NeedsError } from "../kernel/errors.ts";
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import { openConnection, type ConnectOptions } from "../protocol/json/connect.ts";
import { Pace } from "../protocol/pace.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { GRACE_MS, LoadRun, tally, type LoadOptions, type LoadResult } from "./load-run.ts";

/** What to ask for, and whom. */
export type PerformanceOptions = LoadOptions & {
  readonly connect: ConnectOptions;
};

/** What was measured, and what the server says to it. */
export type PerformanceResult = LoadResult & {
  /** Connections that were not there any more at the end, by the code of the error. */
  readonly lost: Readonly<Record<string, number>>;
  /**
   * What the server has counted between its first and its last statistics, those two requests not counted; other clients are in it.
   * Undefined when it could not be asked at the end.
   */
  readonly serverCounted: number | undefined;
};

/** Runs it. Rejects when a connection cannot be opened, or with AbortError when it is stopped before; what fails later is counted. */
export async function measurePerformance(options: PerformanceOptions): Promise<PerformanceResult> {
  const clients: ClientConnection[] = [];
  try {
    await openAll(options, clients);
    const [first] = clients;
    if (first === undefined) throw new Error("expected at least one connection");
    const before = await first.request({ type: "get_stats" });
    const { host = "127.0.0.1", port } = options.connect;
    const isStats = (before.type as string) === "server_stats";
    if (!isStats || !Number.isFinite(before.total_messages))
      throw new NeedsError(
        `whoever listens at ${endpointText({ address: host, port })} is no server of this protocol: it answers get_stats ${isStats ? "without total_messages" : `with ${JSON.stringify(before.type)}`}`,
      );
    const run = new LoadRun(options, clients);
    await run.finish();
    const after = await clients
      .find(({ isOpen }) => isOpen)
      ?.request({ type: "get_stats" }, options.signal.aborted ? GRACE_MS : undefined)
      .catch(() => undefined);
    const serverCounted = after && after.total_messages - before.total_messages - 1;
    return { ...run.result(), lost: await lostOf(clients), serverCounted };
  } finally {
    // Whoever has stopped it does not want to wait for what is still under way.
    const end = (client: ClientConnection): unknown =>
      options.signal.aborted ? client.destroy() : client.close();
    await Promise.all(clients.map(end));
  }
}

async function openAll(
  { connect, connections, openPerSecond, signal }: PerformanceOptions,
  clients: ClientConnection[],
): Promise<void> {
  const AT_ONCE = 128;
  const pace = new Pace(openPerSecond);
  while (clients.length < connections) {
    await pace.turn(signal);
    signal.throwIfAborted();
    const many = openPerSecond === Infinity ? Math.min(AT_ONCE, connections - clients.length) : 1;
    const opened = await Promise.allSettled(
      Array.from({ length: many }, () => openConnection(connect)),
    );
    // Those that have come about are ended by the caller, too, when one has not.
    for (const one of opened) if (one.status === "fulfilled") clients.push(one.value);
    for (const one of opened) if (one.status === "rejected") throw one.reason;
  }
}

/** Who asks on a connection that has ended is told why it has. */
async function lostOf(clients: readonly ClientConnection[]): Promise<Record<string, number>> {
  const lost: Record<string, number> = {};
  for (const client of clients)
    if (!client.isOpen)
      await client.request({ type: "ping" }).catch((error: unknown) => tally(lost, error));
  return lost;
}
