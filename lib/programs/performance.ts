/**
 * performance: how many requests a server answers, and how long each takes. Prints nothing.
 *
 * Without a rate each lane sends its next request when the last one is answered (a closed loop): the throughput is the most that server
 * and client reach together, but a server that stalls is asked less while it does, so latencies look better than those that
 * independent users would see (coordinated omission). With a rate, requests are due at fixed instants, and each latency counts from the
 * instant at which it was due, whether it could be sent then or not.
 */
import { createHistogram, performance, type RecordableHistogram } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import {
  prepare,
  type ClientConnection,
  type Prepared,
} from "../protocol/json/client-connection.ts";
import { openConnection, type ConnectOptions } from "../protocol/json/connect.ts";

/** What to do. Times in milliseconds. */
export type PerformanceOptions = {
  readonly connect: ConnectOptions;
  readonly connections: number;
  /** Requests under way on each connection; with a rate: at most. */
  readonly inFlight: number;
  /** Length of what is to be echoed; 0 for pings. */
  readonly contentBytes: number;
  readonly durationMs: number;
  /** Not measured, before. */
  readonly warmupMs: number;
  /** Requests per second in all; 0 for as fast as it goes. */
  readonly ratePerSecond: number;
  /** How fast connections are opened, per second; Infinity for as fast as it goes. */
  readonly openPerSecond: number;
  readonly signal: AbortSignal;
  /** Told now and then. */
  readonly onProgress?: (progress: PerformanceProgress) => void;
};

export type PerformanceProgress = {
  readonly share: number;
  readonly answered: number;
  readonly perSecond: number;
};

/** What was measured, after the warm-up. */
export type PerformanceResult = {
  readonly connections: number;
  readonly inFlight: number;
  readonly contentBytes: number;
  /** 0: as fast as it went. */
  readonly ratePerSecond: number;
  readonly durationMs: number;
  readonly answered: number;
  readonly perSecond: number;
  /** Errors by code. */
  readonly failed: Readonly<Record<string, number>>;
  /** Answers that were not what was sent. */
  readonly wrong: number;
  readonly latencyMs: Latency | undefined;
  /** What the server has counted between its first and its last statistics, those two requests not counted; other clients are in it. */
  readonly serverCounted: number;
  /** What this side sent in the same time, warm-up included. */
  readonly sent: number;
  /** Share of one core that this process used, and that was left to nobody: at 1 the client is the limit. */
  readonly clientCpu: number;
};

export type Latency = Readonly<
  Record<"min" | "mean" | "p50" | "p90" | "p99" | "p999" | "max", number>
>;

/** Runs it. Rejects when a connection cannot be opened; what fails later is counted. */
export async function measurePerformance(options: PerformanceOptions): Promise<PerformanceResult> {
  const clients: ClientConnection[] = [];
  try {
    await openAll(options, clients);
    const [first] = clients;
    if (first === undefined) throw new Error("expected at least one connection");
    const before = await first.request({ type: "get_stats" });
    const run = new Run(options, clients);
    await run.finish();
    const after = await first.request({ type: "get_stats" });
    return {
      ...run.result(),
      serverCounted: after.total_messages - before.total_messages - 1,
    };
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

async function openAll(
  { connect, connections, openPerSecond, signal }: PerformanceOptions,
  clients: ClientConnection[],
): Promise<void> {
  const AT_ONCE = 128;
  const startMs = performance.now();
  while (clients.length < connections) {
    signal.throwIfAborted();
    const dueMs = (clients.length / openPerSecond) * 1_000 - (performance.now() - startMs);
    if (dueMs > 0) await pause(dueMs, undefined, { signal });
    const many = openPerSecond === Infinity ? Math.min(AT_ONCE, connections - clients.length) : 1;
    clients.push(
      ...(await Promise.all(Array.from({ length: many }, () => openConnection(connect)))),
    );
  }
}

const NS_PER_MS = 1e6;
const PROGRESS_MS = 250;

/** One run: warm-up, measurement, and waiting for the last answers. */
class Run {
  readonly #options: PerformanceOptions;
  readonly #clients: readonly ClientConnection[];
  readonly #content: string;
  /** Made once, as load generators do: what is to be measured is the server. */
  readonly #request: Prepared;
  readonly #histogram: RecordableHistogram = createHistogram({ figures: 3 });
  readonly #failed: Record<string, number> = {};
  readonly #startMs = performance.now();
  readonly #measureMs: number;
  readonly #endMs: number;
  #answered = 0;
  #wrong = 0;
  #sent = 0;
  #lastMs: number;
  #cpu: NodeJS.CpuUsage | undefined;
  #clientCpu = 0;

  constructor(options: PerformanceOptions, clients: readonly ClientConnection[]) {
    this.#options = options;
    this.#clients = clients;
    this.#content = "x".repeat(options.contentBytes);
    this.#request = prepare(
      this.#content === "" ? { type: "ping" } : { type: "echo", content: this.#content },
    );
    this.#measureMs = this.#startMs + options.warmupMs;
    this.#endMs = this.#measureMs + options.durationMs;
    this.#lastMs = this.#measureMs;
  }

  async finish(): Promise<void> {
    const { onProgress } = this.#options;
    const timer = setInterval(() => onProgress?.(this.#progress()), PROGRESS_MS);
    const cpuTimer = setTimeout(() => (this.#cpu = process.cpuUsage()), this.#options.warmupMs);
    try {
      await (this.#options.ratePerSecond > 0 ? this.#atRate() : this.#asFastAsPossible());
    } finally {
      clearInterval(timer);
      clearTimeout(cpuTimer);
      const { user, system } = process.cpuUsage(this.#cpu);
      const elapsedMs =
        performance.now() - (this.#cpu === undefined ? this.#startMs : this.#measureMs);
      this.#clientCpu = (user + system) / 1_000 / elapsedMs;
    }
  }

  result(): Omit<PerformanceResult, "serverCounted"> {
    const { connections, inFlight, contentBytes, ratePerSecond } = this.#options;
    const durationMs = Math.max(1, this.#lastMs - this.#measureMs);
    return {
      connections,
      inFlight,
      contentBytes,
      ratePerSecond,
      durationMs,
      answered: this.#answered,
      perSecond: (this.#answered / durationMs) * 1_000,
      failed: this.#failed,
      wrong: this.#wrong,
      latencyMs: latencyOf(this.#histogram),
      sent: this.#sent,
      clientCpu: this.#clientCpu,
    };
  }

  #progress(): PerformanceProgress {
    const now = performance.now();
    const measuredMs = Math.max(1, now - this.#measureMs);
    return {
      share: Math.min(1, (now - this.#startMs) / (this.#endMs - this.#startMs)),
      answered: this.#answered,
      perSecond: now < this.#measureMs ? 0 : (this.#answered / measuredMs) * 1_000,
    };
  }

  get #isOver(): boolean {
    return this.#options.signal.aborted || performance.now() >= this.#endMs;
  }

  async #asFastAsPossible(): Promise<void> {
    const lane = async (client: ClientConnection): Promise<void> => {
      while (!this.#isOver && client.isOpen) await this.#one(client, performance.now());
    };
    const lanes = this.#clients.flatMap((client) =>
      Array.from({ length: this.#options.inFlight }, () => lane(client)),
    );
    await Promise.all(lanes);
  }

  /** Requests are due at fixed instants; those that find all lanes busy wait, and their latency grows. */
  async #atRate(): Promise<void> {
    const { ratePerSecond, inFlight, signal } = this.#options;
    const idle = this.#clients.flatMap((client) => Array.from({ length: inFlight }, () => client));
    const waiting: number[] = [];
    const underWay = new Set<Promise<void>>();
    const serve = (): void => {
      while (waiting.length > 0) {
        const client = idle.pop();
        if (client === undefined) return;
        const dueMs = waiting.shift() ?? 0;
        const request = this.#one(client, dueMs).then(() => {
          underWay.delete(request);
          if (client.isOpen) idle.unshift(client);
          serve();
        });
        underWay.add(request);
      }
    };
    for (let count = 0; !this.#isOver;) {
      const now = performance.now();
      for (; this.#startMs + (count / ratePerSecond) * 1_000 <= now; count += 1)
        waiting.push(this.#startMs + (count / ratePerSecond) * 1_000);
      serve();
      await pause(1, undefined, { signal }).catch(() => undefined);
    }
    while (underWay.size > 0) await Promise.all(underWay);
  }

  async #one(client: ClientConnection, dueMs: number): Promise<void> {
    this.#sent += 1;
    let code: string | undefined;
    let isRight = true;
    try {
      const answer = await client.requestPrepared(this.#request);
      isRight = this.#content === "" || answer["content"] === this.#content;
    } catch (error) {
      code = (error as { code?: string }).code ?? String(error);
    }
    const now = performance.now();
    if (dueMs < this.#measureMs) return;
    this.#lastMs = now;
    if (code !== undefined) this.#failed[code] = (this.#failed[code] ?? 0) + 1;
    else {
      this.#answered += 1;
      if (!isRight) this.#wrong += 1;
      this.#histogram.record(Math.max(1, Math.round((now - dueMs) * NS_PER_MS)));
    }
  }
}

function latencyOf(histogram: RecordableHistogram): Latency | undefined {
  if (histogram.count === 0) return undefined;
  const at = (percentile: number): number => histogram.percentile(percentile) / NS_PER_MS;
  return {
    min: histogram.min / NS_PER_MS,
    mean: histogram.mean / NS_PER_MS,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    max: histogram.max / NS_PER_MS,
  };
}
