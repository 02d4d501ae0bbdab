/**
 * actor-main: the programs of scenarios that the server and the client do not have: each a few lines, for one thing to be seen.
 */
import { createSocket } from "node:dgram";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import type { ClientStamps, ServerStamps } from "./latency.ts";
import { realtimeClock } from "./realtime.ts";

const HOST = "127.0.0.1";
const [, , role = "", portText = "", manyText = ""] = process.argv;
const port = Number(portText);
const many = Number(manyText);

/** Makes a server that does this with each connection. */
function serve(handle: (socket: Socket) => void): void {
  createServer({ allowHalfOpen: true, noDelay: true }, handle).listen(port, HOST);
}

/** Connects; resolves when the kernel has. */
async function connected(options: { readonly noDelay: boolean }): Promise<Socket> {
  const socket = connect({ host: HOST, port, allowHalfOpen: true, ...options });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return socket;
}

const HALF_BYTES = 5;
/** Until then a new connection acknowledges at once: TCP_PINGPONG_THRESH of Linux 5.1 to 6.6; later kernels need one. */
const FAST_EXCHANGES = 3;
const HOLD_MS = 20;
const KEEP_ALIVE_MS = 1_000;
const BIG_BYTES = 65_536;
const SMALL_BUFFER_BYTES = 8_192;
const QUEUERS = 4;

/** Writes what was noted to stdout, and ends. */
function tell(notes: readonly object[]): void {
  process.stdout.write(JSON.stringify(notes), () => process.exit(0));
}

const ROLES: Readonly<Record<string, () => void | Promise<void>>> = {
  /** Says nothing until the other side has said all. */
  "answer-at-end": () => {
    serve((socket) => {
      let bytes = 0;
      socket.on("data", (chunk) => (bytes += chunk.length));
      socket.on("end", () => void pause(HOLD_MS).then(() => socket.end(`got ${bytes} bytes`)));
    });
  },
  "half-closer": async () => {
    const socket = await connected({ noDelay: true });
    socket.end("that is all").resume();
  },
  /** Answers each message when it is whole. */
  "answer-whole": () => {
    serve((socket) => {
      let bytes = 0;
      socket.on("end", () => socket.end());
      socket.on("data", (chunk) => {
        bytes += chunk.length;
        if (bytes % (2 * HALF_BYTES) === 0) socket.write("whole");
      });
    });
  },
  "two-writes": async () => {
    const socket = await connected({ noDelay: false });
    const answered = (): Promise<unknown> => new Promise((resolve) => socket.once("data", resolve));
    for (let exchange = 0; exchange < FAST_EXCHANGES; exchange += 1) {
      socket.write("one write.");
      await answered();
    }
    socket.write("first");
    // In the same turn of the event loop both would leave at once.
    await new Promise((resolve) => setImmediate(resolve));
    socket.write("half.");
    await answered();
    socket.destroy();
  },
  keeper: async () => {
    const socket = await connected({ noDelay: true });
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    await pause(KEEP_ALIVE_MS + 300);
    socket.destroy();
  },
  /** The first is accepted and blocks the server, two fit into the queue behind it, the last does not. */
  queuers: async () => {
    const sockets: Socket[] = [];
    for (let number = 0; number < QUEUERS; number += 1) {
      const socket = connect({ host: HOST, port });
      sockets.push(socket);
      await Promise.race([new Promise((resolve) => socket.once("connect", resolve)), pause(50)]);
      await pause(HOLD_MS);
    }
    const last = sockets.at(-1);
    if (last?.connecting === true) await new Promise((resolve) => last.once("connect", resolve));
    for (const socket of sockets) socket.destroy();
  },
  "big-message": () => {
    let received = 0;
    const socket: Socket = connect({
      ...{ host: HOST, port, noDelay: true },
      onread: {
        buffer: Buffer.alloc(SMALL_BUFFER_BYTES),
        callback: (bytes) => {
          received += bytes;
          if (received === BIG_BYTES) socket.destroy();
          return true;
        },
      },
    });
    socket.write(Buffer.alloc(BIG_BYTES, "x"));
  },
  /** Notes when it was told of each connection and of its data. */
  "timed-server": () => {
    const now = realtimeClock();
    const notes: ServerStamps[] = [];
    serve((socket) => {
      const accepted = `${now()}`;
      const { remotePort } = socket;
      socket.once("data", (chunk) => {
        const read = `${now()}`;
        socket.write(chunk);
        notes.push({ port: `${remotePort}`, accepted, read });
      });
      socket.on("end", () => socket.end()).on("error", () => undefined);
    });
    process.on("SIGTERM", () => tell(notes));
  },
  /** One connection after the other. */
  "timed-client": async () => {
    const now = realtimeClock();
    const notes: ClientStamps[] = [];
    for (let number = 0; number < many; number += 1) {
      const called = `${now()}`;
      const socket = await connected({ noDelay: true });
      const connectedAt = `${now()}`;
      const port = `${socket.localPort}`;
      const written = `${now()}`;
      socket.write("hello, TCP");
      await new Promise((resolve) => socket.once("data", resolve));
      notes.push({ port, called, connected: connectedAt, written, echoed: `${now()}` });
      socket.destroy();
      // The server's side shall be gone as well before the next one comes.
      await new Promise((resolve) => setImmediate(resolve));
    }
    tell(notes);
  },
  "udp-echo": () => {
    const socket = createSocket("udp4").bind(port, HOST);
    socket.on("message", (message, { port, address }) => socket.send(message, port, address));
  },
  "udp-client": () => {
    const socket = createSocket("udp4");
    socket.on("message", () => socket.close());
    socket.send("hello, UDP", port, HOST);
  },
};

await ROLES[role]?.();
