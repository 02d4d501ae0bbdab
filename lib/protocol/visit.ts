/**
 * visit: the life of one client connection: connect, say something, check the echo, hold, leave.
 */
import { connect, type Socket } from "node:net";
import { deadline } from "./deadline.ts";
import { failureOf, type Failure } from "./errno.ts";
import { leave, type WayToLeave } from "./leave.ts";

/** What a visit does. */
export type VisitOptions = {
  readonly host: string;
  readonly port: number;
  /** Sent `messages` times, one after the other, each time waiting for its echo. */
  readonly message: Buffer;
  readonly messages: number;
  /** Stay connected for this long after the last echo. */
  readonly holdMs: number;
  /** Nobody leaves before it resolves; at once when undefined. */
  readonly mayLeave?: Promise<void> | undefined;
  readonly leave: WayToLeave;
  /** Give up when connecting, or waiting for a whole echo, takes longer. */
  readonly timeoutMs: number;
  /** Aborted: leave at once; whoever only waits for the peer, or has abandoned the connection, closes it; nobody begins. */
  readonly signal: AbortSignal;
};

/** How a visit ended. `peer-closed` is a FIN from the peer before we left; `interrupted`, the signal before we were connected. */
export type Ending =
  | { readonly kind: "left" | "peer-closed" | "interrupted" }
  | ({ readonly kind: "failed" } & Failure);

/** What a visit saw. */
export type Visit = {
  /** Milliseconds from connect() to the end of the handshake; undefined when it never ended. */
  readonly connectMs: number | undefined;
  /** Echoes that came back whole. */
  readonly echoes: number;
  readonly ending: Ending;
};

/**
 * Makes one visit. What goes wrong is the result; rejects for nothing but a host or a port that node:net refuses. Resolves when the
 * program has nothing more to do with the connection; `abandon` therefore resolves only when `signal` is aborted.
 */
export async function visit(options: VisitOptions): Promise<Visit> {
  const visitor = new Visitor(options);
  const stop = (): void => visitor.stop();
  options.signal.addEventListener("abort", stop);
  if (options.signal.aborted) stop();
  const seen = await visitor.seen;
  options.signal.removeEventListener("abort", stop);
  return seen;
}

/** Who makes one visit, and begins at once; whoever makes it calls `stop()` when the signal comes. */
export class Visitor {
  /** Resolves as `visit()` does. */
  readonly seen: Promise<Visit>;
  readonly #options: Omit<VisitOptions, "signal">;
  #resolve: (visit: Visit) => void = () => undefined;
  readonly #socket: Socket;
  readonly #startMs = performance.now();
  #connectMs: number | undefined;
  #echoes = 0;
  #echoedBytes = 0;
  #hasLeft = false;
  #isOver = false;
  /** Calls off what the visitor would do next if nothing else happened. */
  #stopWaiting: () => void;

  constructor(options: Omit<VisitOptions, "signal">) {
    this.#options = options;
    this.seen = new Promise((resolve) => (this.#resolve = resolve));
    this.#socket = connect({
      host: options.host,
      port: options.port,
      allowHalfOpen: true,
      noDelay: true,
    })
      .on("connect", () => this.#onConnect())
      .on("data", (chunk) => this.#onData(chunk))
      .on("end", () => this.#onPeerClosed())
      .on("error", (error) => this.#finish({ kind: "failed", ...failureOf(error) }));
    this.#stopWaiting = deadline(options.timeoutMs, () => this.#giveUp());
  }

  #onConnect(): void {
    this.#connectMs = performance.now() - this.#startMs;
    this.#speak();
  }

  #speak(): void {
    const { messages, message, timeoutMs, mayLeave } = this.#options;
    this.#stopWaiting();
    if (this.#echoes < messages) {
      this.#socket.write(message);
      this.#stopWaiting = deadline(timeoutMs, () => this.#giveUp());
    } else void (mayLeave ?? Promise.resolve()).then(() => this.#hold());
  }

  #hold(): void {
    if (!this.#isOver) this.#stopWaiting = deadline(this.#options.holdMs, () => this.#leave());
  }

  #onData(chunk: Buffer): void {
    const { message, messages } = this.#options;
    const expected = message.subarray(this.#echoedBytes, this.#echoedBytes + chunk.length);
    // Nothing is under way after the last echo: what comes then was not asked for.
    if (this.#echoes === messages || !chunk.equals(expected)) {
      this.#refuseEcho();
      return;
    }
    this.#echoedBytes += chunk.length;
    if (this.#echoedBytes < message.length) return;
    this.#echoedBytes = 0;
    this.#echoes += 1;
    this.#speak();
  }

  #refuseEcho(): void {
    const message = `echo ${this.#echoes + 1} differs from what was sent`;
    this.#finish({ kind: "failed", errno: "EBADMSG", syscall: "read", message });
  }

  #leave(): void {
    this.#hasLeft = true;
    leave(this.#socket, this.#options.leave);
    if (this.#options.leave === "end" || this.#options.leave === "reset")
      this.#finish({ kind: "left" });
  }

  #onPeerClosed(): void {
    // Who abandons a connection does not notice that the peer has gone: CLOSE_WAIT, for as long as the program lives.
    if (this.#options.leave === "abandon") return;
    this.#finish({ kind: this.#hasLeft ? "left" : "peer-closed" });
  }

  #giveUp(): void {
    const syscall = this.#connectMs === undefined ? "connect" : "read";
    const message = `${syscall}: no answer within ${this.#options.timeoutMs} ms (our own limit, not the kernel's)`;
    this.#finish({ kind: "failed", errno: "ETIMEDOUT", syscall, message });
  }

  /** Leaves at once, or calls off the connection. */
  stop(): void {
    this.#finish({ kind: this.#connectMs === undefined ? "interrupted" : "left" });
  }

  #finish(ending: Ending): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopWaiting();
    if (!this.#hasLeft || this.#options.leave === "half-close" || this.#options.leave === "abandon")
      this.#socket.destroy();
    this.#resolve({ connectMs: this.#connectMs, echoes: this.#echoes, ending });
  }
}
