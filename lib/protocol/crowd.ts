/**
 * crowd: many connections at once on one thread, all of them exchanging messages.
 *
 * No thread waits for a connection: epoll_wait(2) tells which of them have something to say. That is why ten thousand
 * connections take as many threads as one.
 */
import { Socket } from "node:net";
import { onSilence } from "./deadline.ts";
import { countFailure, failureOf, type FailureCounts } from "./errno.ts";
import { Pace } from "./pace.ts";
import { Latencies, type Percentiles } from "./percentiles.ts";

/** Who makes up the crowd. */
export type CrowdOptions = {
  readonly host: string;
  readonly port: number;
  readonly connections: number;
  readonly message: Buffer;
  /** What the server answers: the message itself when undefined, its echo. */
  readonly answer?: Buffer | undefined;
  /** Handshakes under way at the same time. Beyond the server's accept queue the kernel drops SYNs, and that costs seconds. */
  readonly opening: number;
  /** How many are opened per second; as fast as it goes when undefined. */
  readonly openPerSecond?: number | undefined;
  /** Whoever waits is given up when no connection has heard anything for so long; never when undefined. */
  readonly timeoutMs?: number | undefined;
  readonly signal: AbortSignal;
};

/** What became of opening the connections. */
export type Opened = {
  /** How many came about. */
  readonly open: number;
  readonly durationMs: number;
  /** All of this crowd so far. */
  readonly failures: FailureCounts;
};

/** What became of one exchange: every open connection sent `rounds` messages, each after the answer to the last. */
export type Exchanged = {
  /** Fewer than planned when a connection was lost, or the signal came. */
  readonly sent: number;
  readonly answered: number;
  readonly durationMs: number;
  readonly latency: Percentiles | undefined;
  /** All of this crowd so far, those of opening it included. */
  readonly failures: FailureCounts;
};

/**
 * A crowd of connections. Call `open()`, then `exchange()` as often as you like, then `close()`. They reject for nothing but a host or a
 * port that node:net refuses.
 */
export class Crowd {
  readonly #options: CrowdOptions;
  readonly #members: Member[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #failures: FailureCounts = {};
  readonly #news: News = { heardMs: 0 };
  #hasGivenUp = false;
  readonly #pace: Pace | undefined;
  /** Whoever waits for an answer, or for a handshake, waits no longer. */
  readonly #cutOff = (): void => {
    for (const socket of this.#sockets) socket.destroy();
  };

  constructor(options: CrowdOptions) {
    this.#options = options;
    const { openPerSecond } = options;
    this.#pace = openPerSecond === undefined ? undefined : new Pace(openPerSecond);
    options.signal.addEventListener("abort", this.#cutOff);
  }

  /** No more connections are opened. */
  get #isOver(): boolean {
    return this.#hasGivenUp || this.#options.signal.aborted;
  }

  /** Opens all connections, `opening` at a time. */
  async open(): Promise<Opened> {
    const startMs = performance.now();
    let toOpen = this.#options.connections;
    const worker = async (): Promise<void> => {
      while (toOpen > 0 && !this.#isOver) {
        toOpen -= 1;
        await this.#openOne();
      }
    };
    const { opening } = this.#options;
    await this.#unlessSilent(() => Promise.all(Array.from({ length: opening }, worker)));
    const open = this.#members.length;
    const failures = structuredClone(this.#failures);
    return { open, durationMs: performance.now() - startMs, failures };
  }

  async #openOne(): Promise<void> {
    const { host, port, signal } = this.#options;
    if (this.#pace !== undefined) await this.#pace.turn(signal);
    if (this.#isOver) return;
    await new Promise<void>((resolve) => {
      // Not net.connect(): that gives the constructor options, which it copies, and adds to. In Node 20 each such copy gets a hidden class of
      // its own: 5 us and 600 bytes a connection.
      const socket = new Socket().setNoDelay(true).connect({ host, port });
      this.#sockets.add(socket);
      socket.once("connect", () => {
        this.#news.heardMs = performance.now();
        this.#members.push(new Member(socket, this.#options, this.#news));
        resolve();
      });
      socket.on("error", (error) => {
        // At the end a server may be quicker than we are: Ctrl-C reaches it, too.
        if (!signal.aborted) countFailure(this.#failures, failureOf(error));
      });
      socket.on("close", () => {
        this.#news.heardMs = performance.now();
        this.#sockets.delete(socket);
        resolve();
      });
    });
  }

  /** Lets every connection send `rounds` messages; all connections at the same time. */
  exchange(rounds: number): Promise<Exchanged> {
    return this.#counted(async (tally) => {
      const { signal } = this.#options;
      await Promise.all(this.#members.map((member) => member.talk(rounds, tally, signal)));
    });
  }

  /** The same messages, one connection after the other: opened, used, closed. What the crowd is compared with. */
  takeTurns(rounds: number): Promise<Exchanged> {
    const { connections, signal } = this.#options;
    return this.#counted(async (tally) => {
      for (let turn = 0; turn < connections && !this.#isOver; turn += 1) {
        await this.#openOne();
        const [member] = this.#members;
        await member?.talk(rounds, tally, signal);
        this.#members.pop()?.close();
      }
    });
  }

  async #counted(talk: (tally: Tally) => Promise<void>): Promise<Exchanged> {
    const latencies = new Latencies();
    const tally = { sent: 0, answered: 0, latencies };
    const startMs = performance.now();
    await this.#unlessSilent(() => talk(tally));
    const durationMs = performance.now() - startMs;
    const { sent, answered } = tally;
    const failures = structuredClone(this.#failures);
    return { sent, answered, durationMs, latency: latencies.summary(), failures };
  }

  /** Gives up when nothing is heard: one timer for all, not one for each of a hundred thousand. */
  async #unlessSilent(work: () => Promise<unknown>): Promise<void> {
    const { timeoutMs } = this.#options;
    this.#news.heardMs = performance.now();
    const heardMs = (): number => this.#news.heardMs;
    const stop =
      timeoutMs === undefined
        ? undefined
        : onSilence(timeoutMs, heardMs, () => this.#giveUp(timeoutMs));
    await work().finally(stop);
  }

  #giveUp(timeoutMs: number): void {
    this.#hasGivenUp = true;
    for (const socket of this.#sockets)
      if (socket.connecting) socket.destroy(silence("connect", timeoutMs));
    for (const member of this.#members) member.giveUp(silence("read", timeoutMs));
  }

  /** Closes every connection; what is not open yet never will be. */
  close(): void {
    this.#hasGivenUp = true;
    this.#options.signal.removeEventListener("abort", this.#cutOff);
    for (const member of this.#members.splice(0)) member.close();
  }
}

/** What all members of a crowd count together. */
type Tally = { sent: number; answered: number; readonly latencies: Latencies };

/** What has happened last on any of the connections. */
type News = { heardMs: number };

function silence(syscall: string, timeoutMs: number): Error {
  const message = `${syscall}: nothing on any connection for ${timeoutMs} ms (our own limit, not the kernel's)`;
  return Object.assign(new Error(message), { code: "ETIMEDOUT", syscall });
}

const NOT_THE_ANSWER = "what came back is not the answer to what was sent";

/** One connection. Its listeners are made once, not once for each message. */
class Member {
  readonly #socket: Socket;
  readonly #message: Buffer;
  readonly #answer: Buffer;
  readonly #news: News;
  #receivedBytes = 0;
  #isAsking = false;
  #sentMs = 0;
  #toSend = 0;
  #tally: Tally | undefined;
  #done: () => void = () => undefined;

  constructor(socket: Socket, { message, answer = message }: CrowdOptions, news: News) {
    this.#socket = socket;
    this.#message = message;
    this.#answer = answer;
    this.#news = news;
    socket.on("data", (chunk) => this.#onData(chunk));
    socket.on("close", () => this.#done());
  }

  /** Resolves when all answers have come or the connection has gone. */
  talk(rounds: number, tally: Tally, signal: AbortSignal): Promise<void> {
    this.#toSend = rounds;
    this.#tally = tally;
    return new Promise((resolve) => {
      this.#done = resolve;
      if (rounds === 0 || signal.aborted || this.#socket.destroyed) resolve();
      else this.#send(tally);
    });
  }

  giveUp(reason: Error): void {
    if (this.#isAsking) this.#socket.destroy(reason);
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(tally: Tally): void {
    this.#toSend -= 1;
    tally.sent += 1;
    this.#isAsking = true;
    this.#sentMs = performance.now();
    this.#socket.write(this.#message);
  }

  #onData(chunk: Buffer): void {
    const tally = this.#tally;
    const endBytes = this.#receivedBytes + chunk.length;
    const isAnswer = chunk.equals(this.#answer.subarray(this.#receivedBytes, endBytes));
    if (tally === undefined || !this.#isAsking || !isAnswer) {
      this.#socket.destroy(Object.assign(new Error(NOT_THE_ANSWER), { code: "EBADMSG" }));
      return;
    }
    const nowMs = performance.now();
    this.#news.heardMs = nowMs;
    this.#receivedBytes = endBytes;
    if (endBytes < this.#answer.length) return;
    this.#receivedBytes = 0;
    this.#isAsking = false;
    tally.answered += 1;
    tally.latencies.record(nowMs - this.#sentMs);
    if (this.#toSend > 0) this.#send(tally);
    else this.#done();
  }
}
