/**
 * client: a connection that comes back.
 *
 *     await using client = new JsonClient({ port: 9999 });
 *     client.on("broadcast", ({ from, content }) => ...);
 *     await client.echo("Hello TCP Server!");
 *
 * It connects with the first request, and again when the connection is lost, each time after a random delay that grows until a request
 * is answered: a server that takes connections and closes them is spared, too, and clients that were dropped together do not come back
 * together. Requests that wait for a connection keep their deadlines. What was under way when it was lost is rejected, not repeated.
 */
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleWhen,
  type CircuitBreakerPolicy,
} from "cockatiel";
import { deadline } from "../deadline.ts";
import { BACKOFF, backoffMs, type BackoffOptions } from "./backoff.ts";
import type { ClientConnection, ConnectionEvents } from "./client-connection.ts";
import { ClientError, RemoteError } from "./client-errors.ts";
import { CONNECTION_LIMITS } from "./client-limits.ts";
import { openConnection, type ConnectOptions } from "./connect.ts";
import type { EchoResponse, Message, Pong, ResponseTo, ServerStats } from "./messages.ts";
import type { Custom, Outgoing } from "./outgoing.ts";
import { tell } from "./tell.ts";
import { usualUnless } from "./usual.ts";

/** How to connect, and what to do when that fails. */
export type JsonClientOptions = ConnectOptions & {
  /** Delays before all tries but the very first; false for none but those that requests make. */
  readonly reconnect?: Partial<BackoffOptions> | false;
  /** After so many failures in a row nothing is tried for a while; then one request is. None unless asked for. */
  readonly breaker?: { readonly failures: number; readonly halfOpenAfterMs: number };
};

/** What a client tells of: what its connection does, and how the connections come and go. */
export type ClientEvents = Omit<ConnectionEvents, "close"> & {
  connect: [];
  /** The connection was lost. */
  disconnect: [Error];
  /** After `error` the next try, the so-many-th since a request was answered, comes after so long. */
  reconnecting: [{ readonly attempt: number; readonly delayMs: number; readonly error: Error }];
};

/** Errors after which another try would end like the first. */
const FINAL = new Set([
  "AUTHENTICATION_FAILED",
  "UNAUTHENTICATED",
  "FRAME_TOO_LARGE",
  "NOT_NEGOTIATED",
  "SENT_BACK",
]);

/** A client that connects when it is asked to, and comes back by itself. Every request ends: with an answer, or with an error and its code. */
export class JsonClient extends EventEmitter<ClientEvents> implements AsyncDisposable {
  readonly #options: JsonClientOptions;
  /** Undefined when there is to be no second try. */
  readonly #delays: BackoffOptions | undefined;
  #connection: ClientConnection | undefined;
  #connecting: Promise<ClientConnection> | undefined;
  readonly #breaker: CircuitBreakerPolicy | undefined;
  readonly #closed = new AbortController();
  /** Tries since a request was answered, and the one that led to that answer. */
  #tries = 0;
  #connectedMs = 0;
  /** Why there is no connection. */
  #failure: Error | undefined;

  constructor(options: JsonClientOptions) {
    super();
    this.#options = options;
    const { breaker, reconnect } = options;
    this.#delays = reconnect === false ? undefined : usualUnless(BACKOFF, reconnect ?? {});
    if (breaker === undefined) return;
    this.#breaker = circuitBreaker(handleWhen(isFailure), {
      halfOpenAfter: breaker.halfOpenAfterMs,
      breaker: new ConsecutiveBreaker(breaker.failures),
    });
  }

  get #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  /** Connects, if it is not connected; later requests do it by themselves. */
  async connect(): Promise<void> {
    await this.#ready();
  }

  /**
   * Asks, and resolves with the answer. Rejects with RemoteError when the answer is an error; with ClientError when there is
   * none in time (connecting included), the connection was lost, or the breaker is open; with the errno when connecting failed for good.
   */
  request<T extends keyof ResponseTo>(
    message: Outgoing<T> & { readonly type: T },
    timeoutMs?: number,
  ): Promise<ResponseTo[T]>;
  request(message: Custom, timeoutMs?: number): Promise<Message>;
  async request(message: Custom, timeoutMs?: number): Promise<Message> {
    const limitMs =
      timeoutMs ?? this.#options.requestTimeoutMs ?? CONNECTION_LIMITS.requestTimeoutMs;
    if (this.#isClosed) throw new ClientError("CLIENT_CLOSED");
    if (this.#breaker === undefined) return this.#ask(message, limitMs);
    // The breaker itself would wait for the end of the one that it has let through, however long that takes.
    if (this.#breaker.state === CircuitState.HalfOpen) throw new ClientError("CIRCUIT_OPEN");
    try {
      return await this.#breaker.execute(() => this.#ask(message, limitMs));
    } catch (error) {
      throw error instanceof BrokenCircuitError ? new ClientError("CIRCUIT_OPEN") : error;
    }
  }

  /** Is the server alive? Rejects as `request` does, here and below. */
  ping(): Promise<Pong> {
    return this.request({ type: "ping", timestamp: new Date().toISOString() });
  }

  /** The same text back. */
  echo(content: string): Promise<EchoResponse> {
    return this.request({ type: "echo", content, timestamp: new Date().toISOString() });
  }

  /** Sends to all other clients; resolves with their number. */
  async broadcast(content: string): Promise<number> {
    const timestamp = new Date().toISOString();
    return (await this.request({ type: "broadcast", content, timestamp })).recipients;
  }

  /** What the server has counted. */
  stats(): Promise<ServerStats> {
    return this.request({ type: "get_stats", timestamp: new Date().toISOString() });
  }

  /** Waits for answers under way, then ends. Requests from now on are rejected with CLIENT_CLOSED. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#connecting?.catch(() => undefined);
    await this.#connection?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask(message: Custom, limitMs: number): Promise<Message> {
    const answer = await (this.#connection?.isOpen === true
      ? this.#connection.request(message, limitMs)
      : this.#askOnceConnected(message, limitMs));
    this.#tries = 1;
    return answer;
  }

  async #askOnceConnected(message: Custom, limitMs: number): Promise<Message> {
    const startMs = performance.now();
    const connection = await withDeadline(this.#ready(), limitMs);
    return connection.request(message, Math.max(1, limitMs - (performance.now() - startMs)));
  }

  #ready(): Promise<ClientConnection> {
    if (this.#isClosed) return Promise.reject(new ClientError("CLIENT_CLOSED"));
    if (this.#connection?.isOpen === true) return Promise.resolve(this.#connection);
    // In a turn of its own: whoever is told of a try may ask for a connection, and there is to be one.
    this.#connecting ??= Promise.resolve()
      .then(() => this.#tryUntilConnected())
      .finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }

  async #tryUntilConnected(): Promise<ClientConnection> {
    if (this.#connection !== undefined) await ended(this.#connection);
    for (;;) {
      if (this.#tries > 0) await this.#backOff();
      if (this.#isClosed) throw new ClientError("CLIENT_CLOSED");
      this.#tries += 1;
      try {
        return this.#adopt(
          await openConnection(this.#options, (connection) => this.#listen(connection)),
        );
      } catch (error) {
        this.#failure = error as Error;
        if (this.#delays === undefined || isFinal(error)) throw error;
      }
    }
  }

  async #backOff(): Promise<void> {
    if (this.#delays === undefined) return;
    const delayMs = backoffMs(this.#tries - 1, this.#delays);
    const error = this.#failure ?? new ClientError("CONNECTION_CLOSED");
    tell(() => this.emit("reconnecting", { attempt: this.#tries, delayMs, error }));
    await pause(delayMs, undefined, { signal: this.#closed.signal }).catch(() => undefined);
  }

  #listen(connection: ClientConnection): void {
    connection
      .on("broadcast", (message) => this.emit("broadcast", message))
      .on("refused", (message) => this.emit("refused", message))
      .on("message", (message) => this.emit("message", message));
  }

  #adopt(connection: ClientConnection): ClientConnection {
    this.#connection = connection;
    this.#connectedMs = performance.now();
    connection.on("close", (error) => this.#lost(error));
    tell(() => this.emit("connect"));
    return connection;
  }

  #lost(error: Error | undefined): void {
    this.#connection = undefined;
    if (error === undefined || this.#isClosed) return;
    this.#failure = error;
    tell(() => this.emit("disconnect", error));
    if (this.#delays === undefined || isFinal(error)) return;
    // Whoever only listens wants to hear again, and gets no answers: what lasted longer than any delay was no failure.
    if (performance.now() - this.#connectedMs > this.#delays.capMs) this.#tries = 1;
    this.#ready().catch(() => undefined);
  }
}

/** Would another try end like this one? */
function isFinal(error: unknown): boolean {
  return FINAL.has((error as { code?: string }).code ?? "");
}

/** For the time between the server's FIN and the end of the connection: nothing more can come, so we need not wait for it. */
async function ended(connection: ClientConnection): Promise<void> {
  const end = once(connection, "close");
  connection.destroy();
  await end;
}

/** What speaks against the server, or the way to it: not against the request, and not against whoever makes too many of them. */
function isFailure(error: unknown): boolean {
  if (error instanceof RemoteError) return error.closes || error.code === "INTERNAL";
  const { code } = error as { readonly code?: string };
  return code !== undefined && code !== "IN_FLIGHT_LIMIT" && code !== "CLIENT_CLOSED";
}

function withDeadline<T>(promise: Promise<T>, limitMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new ClientError("REQUEST_TIMEOUT", "no connection"));
    void promise.then(resolve, reject).finally(deadline(limitMs, late));
  });
}
