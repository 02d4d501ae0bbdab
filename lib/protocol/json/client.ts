/**
 * client: a connection that comes back.
 *
 *     await using client = new JsonClient({ port: 9999 });
 *     client.on("broadcast", ({ from, content }) => ...);
 *     await client.echo("Hello TCP Server!");
 *
 * It connects with the first request, and again, with growing and random delays, when the connection is lost. Requests that wait for
 * a connection keep their deadlines. What was under way when it was lost is rejected, not repeated.
 */
import { EventEmitter } from "node:events";
import {
  BrokenCircuitError,
  circuitBreaker,
  ConsecutiveBreaker,
  handleWhen,
  type CircuitBreakerPolicy,
} from "cockatiel";
import { BACKOFF, backoffMs, type BackoffOptions } from "./backoff.ts";
import {
  CONNECTION_LIMITS,
  type ClientConnection,
  type ConnectionEvents,
  type Custom,
  type Outgoing,
} from "./client-connection.ts";
import { ClientError, RemoteError } from "./client-errors.ts";
import { openConnection, type ConnectOptions } from "./connect.ts";
import type { EchoResponse, Message, Pong, ResponseTo, ServerStats } from "./messages.ts";

/** How to connect, and what to do when that fails. */
export type JsonClientOptions = ConnectOptions & {
  /** Delays between tries; false for no second try. */
  readonly reconnect?: Partial<BackoffOptions> | false;
  /** After so many failures in a row nothing is tried for a while; then one request is. None unless asked for. */
  readonly breaker?: { readonly failures: number; readonly halfOpenAfterMs: number };
};

export type ClientEvents = Omit<ConnectionEvents, "close"> & {
  connect: [];
  /** The connection was lost. */
  disconnect: [Error];
  /** The next try comes after so long. */
  reconnecting: [{ readonly attempt: number; readonly delayMs: number; readonly error: Error }];
};

/** Errors after which another try would end like the first. */
const FINAL = new Set([
  "AUTHENTICATION_FAILED",
  "UNAUTHENTICATED",
  "FRAME_TOO_LARGE",
  "NOT_NEGOTIATED",
]);

export class JsonClient extends EventEmitter<ClientEvents> implements AsyncDisposable {
  readonly #options: JsonClientOptions;
  #connection: ClientConnection | undefined;
  #connecting: Promise<ClientConnection> | undefined;
  readonly #breaker: CircuitBreakerPolicy | undefined;
  readonly #closed = new AbortController();

  constructor(options: JsonClientOptions) {
    super();
    this.#options = options;
    const { breaker } = options;
    if (breaker === undefined) return;
    this.#breaker = circuitBreaker(handleWhen(isFailure), {
      halfOpenAfter: breaker.halfOpenAfterMs,
      breaker: new ConsecutiveBreaker(breaker.failures),
    });
  }

  get #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }

  get isConnected(): boolean {
    return this.#connection?.isOpen === true;
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
    if (this.#breaker === undefined) return this.#ask(message, limitMs);
    try {
      return await this.#breaker.execute(() => this.#ask(message, limitMs));
    } catch (error) {
      throw error instanceof BrokenCircuitError ? new ClientError("CIRCUIT_OPEN") : error;
    }
  }

  ping(): Promise<Pong> {
    return this.request({ type: "ping", timestamp: new Date().toISOString() });
  }

  echo(content: string): Promise<EchoResponse> {
    return this.request({ type: "echo", content, timestamp: new Date().toISOString() });
  }

  /** Sends to all other clients; resolves with their number. */
  async broadcast(content: string): Promise<number> {
    const timestamp = new Date().toISOString();
    return (await this.request({ type: "broadcast", content, timestamp })).recipients;
  }

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
    if (this.#connection?.isOpen === true) return this.#connection.request(message, limitMs);
    const startMs = performance.now();
    const connection = await withDeadline(this.#ready(), limitMs);
    return connection.request(message, Math.max(1, limitMs - (performance.now() - startMs)));
  }

  #ready(): Promise<ClientConnection> {
    if (this.#isClosed) return Promise.reject(new ClientError("CLIENT_CLOSED"));
    if (this.#connection?.isOpen === true) return Promise.resolve(this.#connection);
    this.#connecting ??= this.#tryUntilConnected().finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }

  async #tryUntilConnected(): Promise<ClientConnection> {
    const { reconnect } = this.#options;
    const delays = { ...BACKOFF, ...(reconnect === false ? {} : reconnect) };
    for (let attempt = 1; !this.#isClosed; attempt += 1) {
      try {
        const connection = await openConnection(this.#options);
        return this.#adopt(connection);
      } catch (cause) {
        const error = cause as Error & { code?: string };
        if (reconnect === false || FINAL.has(error.code ?? "")) throw error;
        const delayMs = backoffMs(attempt - 1, delays);
        this.emit("reconnecting", { attempt, delayMs, error });
        await pause(delayMs, this.#closed.signal);
      }
    }
    throw new ClientError("CLIENT_CLOSED");
  }

  #adopt(connection: ClientConnection): ClientConnection {
    this.#connection = connection;
    connection
      .on("broadcast", (message) => this.emit("broadcast", message))
      .on("refused", (message) => this.emit("refused", message))
      .on("message", (message) => this.emit("message", message))
      .on("close", (error) => this.#lost(error));
    this.emit("connect");
    return connection;
  }

  #lost(error: Error | undefined): void {
    if (error === undefined || this.#isClosed) return;
    this.emit("disconnect", error);
    if (this.#options.reconnect === false || FINAL.has((error as { code?: string }).code ?? ""))
      return;
    // Whoever only listens wants to hear again.
    this.#ready().catch(() => undefined);
  }
}

/** What speaks against the server, not against the request. */
function isFailure(error: unknown): boolean {
  return !(error instanceof RemoteError) || error.closes || error.code === "INTERNAL";
}

function withDeadline<T>(promise: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ClientError("REQUEST_TIMEOUT", "no connection")), limitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits, or is woken by the signal. */
function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
