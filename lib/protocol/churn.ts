/**
 * churn: open and close connections, as a program without a connection pool does.
 *
 * Each connection is left as soon as its handshake is over. Nothing is sent: the port that it used is all that matters.
 */
import { setMaxListeners } from "node:events";
import { connect, type Socket, type TcpNetConnectOpts } from "node:net";
import { countFailure, failureOf, type FailureCounts } from "./errno.ts";
import { Pace } from "./pace.ts";
import { MAX_TIMER_MS } from "./pause-until.ts";
import { Latencies, type Percentiles } from "./percentiles.ts";

/** How to churn. */
export type ChurnOptions = {
  readonly host: string;
  /** Destinations on `host`, used in turn. A port is free again for each of them: what counts is the 4-tuple. */
  readonly ports: readonly number[];
  /** Stop after this many attempts, this many milliseconds, or, if asked to, at the first failure; a local port that others have is none. */
  readonly count: number;
  readonly durationMs: number;
  readonly untilError: boolean;
  /** Attempts under way at the same time. */
  readonly concurrency: number;
  /** Attempts per second, counted from the start: after a stall those that are due follow at once. 0 for as fast as possible. */
  readonly ratePerSecond: number;
  /** Who closes first: us, with a FIN or a RST, or the server (then we wait for its FIN). */
  readonly leave: "end" | "reset" | "wait";
  /**
   * Bind these local ports, one after the other, once; after the last one, or without any, the kernel chooses. bind() refuses those
   * that somebody listens on, and those that the kernel chose for another connection (EADDRINUSE, though they may be free for this
   * destination): they are passed over.
   */
  readonly localPorts: readonly number[];
  /** How full the port range is, from 0 to 1. Asked every few attempts, so it has to be cheap. */
  readonly fillLevel: () => number;
  readonly signal: AbortSignal;
};

/** What has happened so far; `failures` by errno. */
export type ChurnProgress = {
  readonly attempts: number;
  readonly successes: number;
  readonly failures: FailureCounts;
  /** Who sent the first FIN or RST: us, or the server. */
  readonly closedFirst: { readonly us: number; readonly server: number };
};

/** What has happened in all. */
export type ChurnResult = ChurnProgress & {
  readonly durationMs: number;
  /** connect() latencies while the range was 0 to 10 % full, 10 to 20 %, and so on: ten entries. */
  readonly connectByFill: readonly (Percentiles | undefined)[];
};

const FILL_EVERY = 16;
const FILL_STEPS = 10;

/** When an attempt began, and how full the range was then. */
type Attempt = {
  readonly startMs: number;
  readonly fillStep: number;
  /** Called once, when the port is given back or was never had: time for the next turn. */
  readonly over: () => void;
};

/**
 * A churn under way: `progress` changes as it goes; `run()` resolves at its end. It rejects for nothing but a host or a port that node:net
 * refuses, and what `fillLevel` throws.
 *
 * At more than 10,000 connections per second each object counts. So listeners are made once for all sockets, and whoever
 * closes first does not wait for the "close" event: the kernel has its port back as soon as close(2) was called.
 */
export class Churn {
  readonly #options: ChurnOptions;
  readonly #latencies = Array.from({ length: FILL_STEPS }, () => new Latencies());
  readonly #failures: FailureCounts = {};
  readonly #closedFirst = { us: 0, server: 0 };
  readonly #open = new Map<Socket, Attempt>();
  readonly #stopped = new AbortController();
  readonly #onConnect: (this: Socket) => void;
  readonly #onClose: (this: Socket) => void;
  /** Turns that were given out; those that wait for their time are no attempts yet. */
  #turns = 0;
  #attempts = 0;
  #successes = 0;
  #fillStep = 0;
  #mustStop = false;
  #startMs = 0;
  readonly #pace: Pace;

  constructor(options: ChurnOptions) {
    this.#options = options;
    this.#pace = new Pace(options.ratePerSecond);
    const connected = (socket: Socket): void => this.#connected(socket);
    const closed = (socket: Socket): void => this.#closed(socket);
    this.#onConnect = function () {
      connected(this);
    };
    this.#onClose = function () {
      closed(this);
    };
  }

  get progress(): ChurnProgress {
    return {
      attempts: this.#attempts,
      successes: this.#successes,
      failures: this.#failures,
      closedFirst: this.#closedFirst,
    };
  }

  /** Opens and closes until the options or an error end it; resolves with what came of it. */
  async run(): Promise<ChurnResult> {
    this.#startMs = performance.now();
    const deadline = setTimeout(
      () => this.#cutOff(),
      Math.min(this.#options.durationMs, MAX_TIMER_MS),
    );
    const { signal } = this.#options;
    const cutOff = (): void => this.#cutOff();
    signal.addEventListener("abort", cutOff);
    if (signal.aborted) cutOff();
    setMaxListeners(0, this.#stopped.signal); // One for each worker that waits for its turn.
    const workers = Array.from({ length: this.#options.concurrency }, () => this.#work());
    try {
      await Promise.all(workers);
    } catch (error) {
      this.#cutOff();
      throw error;
    } finally {
      clearTimeout(deadline);
      signal.removeEventListener("abort", cutOff);
    }
    const durationMs = performance.now() - this.#startMs;
    return {
      ...this.progress,
      durationMs,
      connectByFill: this.#latencies.map((step) => step.summary()),
    };
  }

  async #work(): Promise<void> {
    if (this.#options.ratePerSecond === 0) {
      await new Promise<void>((...settle) => this.#workOn(...settle));
      return;
    }
    while (this.#hasTurns()) {
      const turn = this.#nextTurn();
      await this.#pace.turn(this.#stopped.signal);
      if (this.#mustStop) return;
      await new Promise<void>((resolve) => this.#attempt(turn, resolve));
    }
  }

  /** One attempt after the other, without a promise between them. */
  #workOn(finish: () => void, fail: (error: unknown) => void): void {
    const goOn = (): void => {
      try {
        if (this.#hasTurns()) this.#attempt(this.#nextTurn(), goOn);
        else finish();
      } catch (error) {
        fail(error);
      }
    };
    goOn();
  }

  #hasTurns(): boolean {
    return !this.#mustStop && this.#turns < this.#options.count;
  }

  #nextTurn(): number {
    this.#turns += 1;
    return this.#turns - 1;
  }

  /** No further turns; attempts under way come to their end. */
  #stop(): void {
    this.#mustStop = true;
    this.#stopped.abort();
  }

  /** Attempts under way may be waiting for a peer that never answers: they are cut off. */
  #cutOff(): void {
    this.#stop();
    for (const socket of this.#open.keys()) {
      if (!socket.connecting && !socket.readableEnded) this.#closedFirst.us += 1;
      socket.destroy();
    }
  }

  #measureFill(): void {
    this.#fillStep = Math.min(FILL_STEPS - 1, Math.floor(this.#options.fillLevel() * FILL_STEPS));
  }

  #attempt(turn: number, over: () => void): void {
    if (turn % FILL_EVERY === 0) this.#measureFill();
    this.#attempts += 1;
    const attempt = { startMs: performance.now(), fillStep: this.#fillStep, over };
    // As Crowd does it a socket would take 5 us less. But then the bomb outruns a server in Node: the accept queue is full, and each SYN
    // that is lost takes a second.
    const socket = connect(this.#destination(turn));
    this.#open.set(socket, attempt);
    socket.on("connect", this.#onConnect).on("error", this.#onError).on("close", this.#onClose);
  }

  #destination(turn: number): TcpNetConnectOpts {
    const { host, ports, localPorts } = this.#options;
    const port = ports[turn % ports.length] ?? 0;
    const localPort = localPorts[turn];
    return localPort === undefined ? { host, port } : { host, port, localPort };
  }

  #connected(socket: Socket): void {
    this.#successes += 1;
    const attempt = this.#open.get(socket);
    if (attempt !== undefined)
      this.#latencies[attempt.fillStep]?.record(performance.now() - attempt.startMs);
    this.#leave(socket);
  }

  #leave(socket: Socket): void {
    switch (this.#options.leave) {
      case "end":
        this.#closedFirst.us += 1;
        socket.destroy();
        this.#closed(socket);
        return;
      case "reset":
        this.#closedFirst.us += 1;
        socket.resetAndDestroy();
        this.#closed(socket);
        return;
      case "wait":
        // Node answers the server's FIN with ours and closes.
        socket.on("end", () => (this.#closedFirst.server += 1)).resume();
        return;
    }
  }

  #closed(socket: Socket): void {
    const attempt = this.#open.get(socket);
    if (attempt === undefined) return;
    this.#open.delete(socket);
    attempt.over();
  }

  readonly #onError = (error: Error): void => {
    countFailure(this.#failures, failureOf(error));
    const isPassedOver = (error as NodeJS.ErrnoException).syscall === "bind";
    if (this.#options.untilError && !isPassedOver) this.#stop();
  };
}
