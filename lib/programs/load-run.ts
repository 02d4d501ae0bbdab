/**
 * load-run: requests over connections that are open already, and what becomes of them: warm-up, measurement, last answers.
 *
 * Without a rate each lane sends its next request when the last one is answered (a closed loop): the throughput is the most that server
 * and client reach together, but a server that stalls is asked less while it does, so latencies look better than those that
 * independent users would see (coordinated omission). With a rate, requests are due at fixed instants, and each latency counts from the
 * instant at which it was due, whether it could be sent then or not.
 */
import { once } from "node:events";
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import type { Message } from "../protocol/json/messages.ts";
import { prepare, type Prepared } from "../protocol/json/outgoing.ts";

/** What to ask a server for. Times in milliseconds. */
export type Load = {
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
};

/** How long, and whom to tell. */
export type LoadOptions = Load & {
  /** Ends it early: what was measured until then is the result. */
  readonly signal: AbortSignal;
  /** Told now and then. */
  readonly onProgress?: (progress: LoadProgress) => void;
};

export type LoadProgress = {
  readonly share: number;
  readonly answered: number;
  readonly perSecond: number;
};

/** What was measured, after the warm-up. */
export type LoadResult = {
  readonly connections: number;
  readonly inFlight: number;
  readonly contentBytes: number;
  /** 0: as fast as it went. */
  readonly ratePerSecond: number;
  readonly durationMs: number;
  readonly answered: number;
  readonly perSecond: number;
  /** Requests without an answer, by the code of the error, warm-up included. */
  readonly failed: Readonly<Record<string, number>>;
  /** Answers that were not what was sent, warm-up included. */
  readonly wrong: number;
  readonly latencyMs: Latency | undefined;
  /** With a rate: requests that were due, and for which no lane became free before the end. They are in no latency. */
  readonly unsent: number;
  /** What was sent, warm-up included. */
  readonly sent: number;
  /** Share of one core that this process used, and that was left to nobody: at 1 the client is the limit. */
  readonly clientCpu: number;
};

export type Latency = Readonly<
  Record<"min" | "mean" | "p50" | "p90" | "p99" | "p999" | "max", number>
>;

/** Stopped early: for so long it waits for answers. */
export const GRACE_MS = 1_000;

async function longAfter(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
  await pause(GRACE_MS, undefined, { ref: false });
}

/** One more error with this code. */
export function tally(counts: Record<string, number>, error: unknown): void {
  const { code = String(error) } = error as { code?: string };
  counts[code] = (counts[code] ?? 0) + 1;
}

const NS_PER_MS = 1e6;
const PROGRESS_MS = 250;

/** One run: warm-up, measurement, and waiting for the last answers. */
export class LoadRun {
  readonly #options: LoadOptions;
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
  #unsent = 0;
  #lastMs: number;
  /** When it was stopped, or there was nobody left to ask. */
  #overMs = Infinity;
  #cpu = process.cpuUsage();
  #cpuMs = this.#startMs;
  #clientCpu = 0;

  constructor(options: LoadOptions, clients: readonly ClientConnection[]) {
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
    const { onProgress, signal } = this.#options;
    const stop = (): void => void (this.#overMs = Math.min(this.#overMs, performance.now()));
    signal.addEventListener("abort", stop);
    const timer = setInterval(() => onProgress?.(this.#progress()), PROGRESS_MS);
    const cpuTimer = setTimeout(() => {
      this.#cpu = process.cpuUsage();
      this.#cpuMs = performance.now();
    }, this.#options.warmupMs);
    try {
      const isAtRate = this.#options.ratePerSecond > 0;
      const lanes = isAtRate ? this.#atRate() : this.#asFastAsPossible();
      await Promise.race([lanes, longAfter(signal)]);
    } finally {
      stop();
      signal.removeEventListener("abort", stop);
      clearInterval(timer);
      clearTimeout(cpuTimer);
      const { user, system } = process.cpuUsage(this.#cpu);
      this.#clientCpu = (user + system) / 1_000 / (performance.now() - this.#cpuMs);
    }
  }

  result(): LoadResult {
    const { connections, inFlight, contentBytes, ratePerSecond } = this.#options;
    // Time in which no answer came any more was measured, too: a server that hangs answers nothing in it.
    const untilMs = Math.max(this.#lastMs, Math.min(this.#overMs, this.#endMs));
    const durationMs = Math.max(1, untilMs - this.#measureMs);
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
      unsent: this.#unsent,
      clientCpu: this.#clientCpu,
    };
  }

  #progress(): LoadProgress {
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
      while (client.isOpen && !this.#isOver) await this.#one(client, performance.now());
    };
    const lanes = this.#clients.flatMap((client) =>
      Array.from({ length: this.#options.inFlight }, () => lane(client)),
    );
    await Promise.all(lanes);
  }

  /** Requests are due at fixed instants; those that find all lanes busy wait, and their latency grows. */
  async #atRate(): Promise<void> {
    const { ratePerSecond, inFlight, signal } = this.#options;
    // A ring: whose lane has been idle for longest is next.
    const idle = this.#clients.flatMap((client) => Array.from({ length: inFlight }, () => client));
    let [first, count] = [0, idle.length];
    const underWay = new Set<Promise<void>>();
    let taken = 0;
    const dueMs = (): number => this.#startMs + (taken / ratePerSecond) * 1_000;
    const serve = (): void => {
      for (const untilMs = Math.min(performance.now(), this.#endMs); dueMs() <= untilMs;) {
        const client = idle[first];
        if (count === 0 || client === undefined) return;
        first = (first + 1) % idle.length;
        count -= 1;
        if (!client.isOpen) continue;
        const request = this.#one(client, dueMs()).then(() => {
          underWay.delete(request);
          idle[(first + count) % idle.length] = client;
          count += 1;
          if (!this.#isOver) serve();
        });
        underWay.add(request);
        taken += 1;
      }
    };
    while (!this.#isOver && this.#clients.some(({ isOpen }) => isOpen)) {
      serve();
      await pause(1, undefined, { signal }).catch(() => undefined);
    }
    serve();
    const lateMs = Math.min(performance.now(), this.#endMs) - dueMs();
    this.#unsent = Math.max(0, Math.floor((lateMs * ratePerSecond) / 1_000) + 1);
    await Promise.all(underWay);
  }

  #isRight({ type, content }: Message & { readonly content?: unknown }): boolean {
    return this.#content === ""
      ? type === "pong"
      : type === "echo_response" && content === this.#content;
  }

  async #one(client: ClientConnection, dueMs: number): Promise<void> {
    this.#sent += 1;
    let answer: Message;
    try {
      answer = await client.requestPrepared(this.#request);
    } catch (error) {
      tally(this.#failed, error);
      return;
    }
    const now = performance.now();
    if (!this.#isRight(answer)) this.#wrong += 1;
    if (dueMs < this.#measureMs) return;
    this.#lastMs = now;
    this.#answered += 1;
    this.#histogram.record(Math.max(1, Math.round((now - dueMs) * NS_PER_MS)));
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
