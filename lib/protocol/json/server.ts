/**
 * server: many clients of the protocol on one thread, each within limits.
 *
 *     const server = createJsonServer({ handlers: { add: ({ a, b }) => ({ type: "sum", sum: a + b }) } });
 *     const { port } = await server.listen({ port: 9999 });
 *     await server.close({ drainMs: 5_000 });
 */
import type { AddressInfo, Socket } from "node:net";
import { MAX_TIMER_MS } from "../pause-until.ts";
import { tokenCheck } from "./auth.ts";
import { Connection } from "./connection.ts";
import { flushAwaiting, nowMs, timestamps, twoTurns, type Core } from "./core.ts";
import type { ServerEvent } from "./events.ts";
import { handlerTable, textOf, type Answer, type Caller, type Handler } from "./handlers.ts";
import { limitsOf, sweepIntervalMs, type Limits } from "./limits.ts";
import { newListener, type Listener, type ListenOptions, type TlsIdentity } from "./listener.ts";
import { encodeText, PLAIN, type Packing } from "./messages.ts";
import { newTally, type Tally } from "./tally.ts";
import { tell } from "./tell.ts";

/** How to serve. */
export type JsonServerOptions = Partial<Limits> & {
  /** How it calls itself in `echoed_by`. */
  readonly name?: string;
  /** Types of your own, and what answers them. */
  readonly handlers?: Readonly<Record<string, Handler>>;
  /** Nothing but hello and auth before a client has sent this token; not empty. */
  readonly authToken?: string;
  /** Key and certificate in PEM; with `ca` clients need a certificate, too, signed by one of these. */
  readonly tls?: TlsIdentity;
  /** May clients ask for compression? Yes unless told otherwise. */
  readonly isCompressing?: boolean;
  /** Told of everything that belongs in a log. */
  readonly onEvent?: (event: ServerEvent) => void;
};

export type { ListenOptions };

/** How an end went. */
export type Closing = {
  /** Clients that were connected at the end. */
  readonly clients: number;
  /** How many of them had to be cut off at the end of the time. */
  readonly cutOff: number;
};

/** A server. */
export type JsonServer = {
  readonly tally: Tally;
  /** Requests answered so far, by type. */
  readonly requests: () => ReadonlyMap<string, number>;
  /** Clients that are connected now. */
  readonly clients: () => number;
  readonly uptimeMs: () => number;
  /** Listens; rejects with the errno of bind(2) or listen(2), or with SERVER_CLOSED: after `close()` it takes another server. */
  readonly listen: (options: ListenOptions) => Promise<AddressInfo>;
  /** Sends a message to every client. Returns to how many. */
  readonly broadcast: (message: Answer) => number;
  /**
   * Stops listening, answers what has arrived, tells every client SHUTTING_DOWN and waits for them to go; after `drainMs` whoever
   * is left is cut off.
   */
  readonly close: (options?: { readonly drainMs?: number }) => Promise<Closing>;
};

const OWNER = Symbol("connection");
type OwnedSocket = Socket & { [OWNER]: Connection };

/** Makes a server. Throws what node:tls throws about a bad key or certificate, and TypeError for an empty token. */
export function createJsonServer(options: JsonServerOptions = {}): JsonServer {
  if (options.authToken === "") throw new TypeError("authToken: expected a token, got nothing");
  const core = newCore(options);
  const listener = newListener(core, options.tls, (socket) => accept(core, socket));
  let sweeper: NodeJS.Timeout | undefined;
  let closing: Promise<Closing> | undefined;
  return {
    tally: core.tally,
    requests: () => new Map([...core.rows].map(([type, { count }]) => [type, count])),
    clients: () => core.clients,
    uptimeMs: () => performance.now() - core.startedMs,
    listen: async (where) => {
      const address = await listener.listen(where);
      sweeper ??= startSweeping(core);
      return address;
    },
    broadcast: (message) => {
      const count = core.broadcast(message);
      flushAwaiting(core);
      return count;
    },
    close: ({ drainMs = 5_000 } = {}) =>
      (closing ??= close(core, listener, drainMs).finally(() => clearInterval(sweeper))),
  };
}

function newCore(options: JsonServerOptions): Core {
  const { onEvent } = options;
  const limits = limitsOf(options);
  const { ratePerSecond, rateBurst, maxFrameBytes } = limits;
  const tally = newTally();
  const plain = { ...PLAIN, maxFrameBytes };
  const core: Core = {
    limits,
    rate:
      ratePerSecond === 0
        ? undefined
        : { perSecond: ratePerSecond, burst: Math.max(1, rateBurst || ratePerSecond) },
    plain,
    deflating: options.isCompressing === false ? undefined : { ...plain, deflate: true },
    rows: new Map(),
    tally,
    isToken: options.authToken === undefined ? undefined : tokenCheck(options.authToken),
    onEvent: onEvent && ((event) => tell(() => onEvent(event))),
    startedMs: performance.now(),
    connections: new Set(),
    awaiting: [],
    clients: 0,
    isClosing: false,
    isClosed: false,
    onEmpty: () => undefined,
    broadcast: (message, caller) => broadcast(core, message, caller),
  };
  const host = {
    name: options.name ?? "TCP Server",
    startedMs: core.startedMs,
    startTime: new Date().toISOString(),
    timestamp: timestamps(),
    clients: () => core.clients,
    messages: () => tally.messages,
    broadcast: core.broadcast,
  };
  core.rows = handlerTable(host, options.handlers ?? {});
  return core;
}

function accept(core: Core, socket: Socket): void {
  const { connections, limits, tally } = core;
  tally.accepted += 1;
  if (core.isClosed) return void socket.destroy();
  const connection = new Connection(socket, core);
  (socket as OwnedSocket)[OWNER] = connection;
  connections.add(connection);
  core.clients += 1;
  socket
    .on("data", receiveData)
    .on("end", receiveEnd)
    .on("drain", continueWriting)
    .on("error", noteError)
    .on("close", noteClose);
  if (core.clients > limits.maxConnections)
    connection.dismiss("TOO_MANY_CONNECTIONS", `${limits.maxConnections} clients are connected`);
  else if (core.isClosing) connection.dismiss("SHUTTING_DOWN");
  else core.onEvent?.({ event: "connect", client: connection.clientId, clients: core.clients });
}

/** Shared listeners instead of closures: ten thousand connections should not cost ten thousand functions. */
function receiveData(this: Socket, chunk: Buffer): void {
  (this as OwnedSocket)[OWNER].receive(chunk);
}

function receiveEnd(this: Socket): void {
  (this as OwnedSocket)[OWNER].end();
}

function continueWriting(this: Socket): void {
  (this as OwnedSocket)[OWNER].drain();
}

function noteError(this: Socket, error: NodeJS.ErrnoException): void {
  (this as OwnedSocket)[OWNER].fail(error);
}

function noteClose(this: Socket): void {
  (this as OwnedSocket)[OWNER].close();
}

/** To all but the caller; each way of packing is made once for all. */
function broadcast(core: Core, message: Answer, caller?: Caller): number {
  const text = textOf(message, core.limits.maxFrameBytes);
  const frames = new Map<Packing, Buffer>();
  let recipients = 0;
  for (const connection of core.connections) {
    if (connection === caller || !connection.isListening) continue;
    const { packing } = connection;
    const frame = frames.get(packing) ?? encodeText(text, packing);
    frames.set(packing, frame);
    if (connection.deliver(frame)) recipients += 1;
  }
  return recipients;
}

/** One timer for all connections. */
function startSweeping(core: Core): NodeJS.Timeout {
  const intervalMs = sweepIntervalMs(core.limits);
  let lastMs = nowMs();
  return setInterval(() => {
    const now = nowMs();
    const wasStopped = now - lastMs > 2 * intervalMs + 100;
    lastMs = now;
    // After a pause of our own nobody can be blamed for silence: first we read what has come in the meantime.
    if (wasStopped) return;
    for (const connection of core.connections) connection.tick(now);
  }, intervalMs);
}

async function close(core: Core, listener: Listener, drainMs: number): Promise<Closing> {
  const { connections } = core;
  await listener.close();
  // Who has been told to leave already is not one of them.
  const clients = [...connections].filter(({ isClient }) => isClient);
  core.onEvent?.({ event: "shutdown", clients: clients.length });
  // What has arrived before this instant is read, and answered.
  await twoTurns();
  core.isClosing = true;
  for (const connection of connections) connection.shutDown();
  await emptied(core, drainMs);
  const cutOff = clients.filter((client) => connections.has(client)).length;
  core.isClosed = true;
  for (const { socket } of connections) socket.destroy();
  listener.cutOff();
  await emptied(core, 1_000);
  return { clients: clients.length, cutOff };
}

/** Waits until no connection is left, but no longer than this. */
function emptied(core: Core, deadlineMs: number): Promise<void> {
  if (core.connections.size === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.min(deadlineMs, MAX_TIMER_MS));
    core.onEmpty = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
