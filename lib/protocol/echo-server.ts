/**
 * echo-server: sends back what it gets, or misbehaves in exactly one way on request.
 *
 * Node accepts eagerly: it takes every connection out of the accept queue as soon as its event loop turns. A server that
 * stops accepting is therefore one whose event loop is blocked; `blockAfter` does that the way a long computation would.
 */
import { createServer, type Server, type Socket } from "node:net";

/** Behaviour to what it means. */
export const BEHAVIOURS = {
  echo: "send back what arrives; close when the peer closes",
  leak: "echo, but never close: a FIN from the peer leaves the socket in CLOSE_WAIT",
  "close-first": "send FIN as soon as the connection is accepted: TIME_WAIT is ours",
  reset: "send RST as soon as the connection is accepted",
  "never-read": "accept and never read: our window closes and the peer has to wait",
  stall: "read and throw away, never answer",
} as const;

/** One of the behaviours. */
export type Behaviour = keyof typeof BEHAVIOURS;

/** How a server behaves. */
export type EchoServerOptions = {
  readonly behaviour: Behaviour;
  /** Destroy a connection after this many milliseconds without traffic; 0 for never. */
  readonly idleTimeoutMs: number;
  /** Block the event loop once this many connections have been accepted; 0 for never. */
  readonly blockAfter: number;
  /** For how many milliseconds. */
  readonly blockMs: number;
};

/** A server with what it has counted itself. What the kernel has counted may differ: that is a finding. */
export type EchoServer = {
  readonly server: Server;
  /** Connections of which the program has been told, in all, and how many of them are open now. */
  readonly counts: { accepted: number; open: number; peakOpen: number; errors: number };
  /** Closes the listener and every connection. */
  readonly stop: () => void;
};

/** Makes an echo server; call `server.listen()` on it. */
export function createEchoServer(options: EchoServerOptions): EchoServer {
  const counts = { accepted: 0, open: 0, peakOpen: 0, errors: 0 };
  const sockets = new Set<Socket>();
  const behave = HANDLERS[options.behaviour];
  // One listener for all connections, not one for each: ten thousand connections should not cost ten thousand functions.
  const countError = (): void => void (counts.errors += 1);
  const forget = function (this: Socket): void {
    sockets.delete(this);
    counts.open = sockets.size;
  };
  const server = createServer(
    // noDelay: each echo goes out at once, so that Nagle's algorithm does not distort what the labs measure.
    { allowHalfOpen: true, noDelay: true, pauseOnConnect: options.behaviour === "never-read" },
    (socket) => {
      counts.accepted += 1;
      sockets.add(socket);
      counts.open = sockets.size;
      counts.peakOpen = Math.max(counts.peakOpen, counts.open);
      socket.on("error", countError).on("close", forget);
      if (options.idleTimeoutMs > 0) socket.setTimeout(options.idleTimeoutMs, destroyThis);
      behave(socket);
      if (counts.accepted === options.blockAfter) blockEventLoop(options.blockMs);
    },
  );
  const stop = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { server, counts, stop };
}

const HANDLERS: Readonly<Record<Behaviour, (socket: Socket) => void>> = {
  echo: (socket) => socket.on("data", echoChunk).on("end", endThis),
  leak: (socket) => socket.on("data", echoChunk),
  "close-first": (socket) => socket.end().resume(),
  reset: (socket) => socket.resetAndDestroy(),
  "never-read": () => undefined,
  stall: (socket) => socket.resume().on("end", endThis),
};

function echoChunk(this: Socket, chunk: Buffer): void {
  if (this.write(chunk)) return;
  this.pause();
  this.once("drain", resumeThis);
}

function endThis(this: Socket): void {
  this.end();
}

function resumeThis(this: Socket): void {
  this.resume();
}

function destroyThis(this: Socket): void {
  this.destroy();
}

function blockEventLoop(forMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs);
}
