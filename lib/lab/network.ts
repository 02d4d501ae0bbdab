/**
 * network: what an arm does in its network itself, without a program of ours: it listens and connects.
 *
 * The sockets are those of the arm's own process. That is right where a lab needs an end that no executable of ours has, such
 * as one that closes at a certain moment; everything that an arm opens is closed when it is over.
 */
import {
  connect,
  createServer,
  type ServerOpts,
  type Server,
  type Socket,
  type TcpNetConnectOpts,
} from "node:net";
import { isInSandbox } from "../kernel/sandbox.ts";
import type { SocketRecord, TcpState } from "../sockets/record.ts";
import type { Bench } from "./bench.ts";

/** One end of a connection, and what its program has been told of so far. */
export class Line {
  readonly socket: Socket;
  /** Errors in their order, such as `ECONNRESET:read`. */
  readonly errors: string[] = [];
  /** Bytes that the program has been given. */
  bytes = 0;
  /** The peer's FIN has come. */
  hasEnded = false;
  /** Nothing more will come: the socket is closed on our side. */
  isClosed = false;
  /** Milliseconds from connect() to its result. */
  connectMs = 0;

  constructor(socket: Socket, reads: boolean) {
    this.socket = socket;
    if (!reads) socket.pause();
    socket
      .on("data", (chunk) => (this.bytes += chunk.length))
      .on("end", () => (this.hasEnded = true))
      .on("close", () => (this.isClosed = true))
      .on("error", ({ code, syscall }: NodeJS.ErrnoException) => {
        this.errors.push(`${code ?? "?"}:${syscall ?? "?"}`);
      });
  }

  /** The first error's name, such as `ECONNRESET`; `none` without one. */
  get errno(): string {
    return this.errors[0]?.split(":")[0] ?? "none";
  }
}

/** How a listener listens. */
export type ListenOptions = ServerOpts & {
  /** Default: the next free port of the sandbox. */
  readonly port?: number;
  readonly host?: string;
  readonly backlog?: number;
  /** What becomes of each connection that was accepted. */
  readonly onLine?: (line: Line) => void;
};

/** A listener, and the connections that it has accepted. */
export type Listening = {
  readonly server: Server;
  readonly port: number;
  readonly lines: readonly Line[];
};

/** How to connect. */
export type DialOptions = TcpNetConnectOpts & {
  /** False leaves what arrives with the kernel. */
  readonly reads?: boolean;
  /** Told before connect() has a result. */
  readonly onLine?: (line: Line) => void;
};

const FIRST_PORT = 9000;

/** The sockets of an arm's own process. */
export class OwnSockets {
  readonly #open = new Set<Socket>();
  readonly #servers: Server[] = [];

  /** Listens; every connection is read unless the server was asked to pause. */
  listen({ port, host, backlog, onLine, ...options }: ListenOptions = {}): Promise<Listening> {
    const lines: Line[] = [];
    const server = createServer(options, (socket) => {
      const line = new Line(this.#keep(socket), options.pauseOnConnect !== true);
      lines.push(line);
      onLine?.(line);
    });
    this.#servers.push(server);
    // A sandbox has all ports to itself; elsewhere any free one has to do.
    const wanted = port ?? (isInSandbox() ? FIRST_PORT + this.#servers.length : 0);
    return new Promise((resolve, reject) => {
      server.on("error", reject);
      server.listen({ port: wanted, host: host ?? "127.0.0.1", backlog }, () => {
        resolve({ server, port: (server.address() as { port: number }).port, lines });
      });
    });
  }

  /** Connects. Resolves with either result of connect(), and never rejects. */
  dial({ reads = true, onLine, ...options }: DialOptions): Promise<Line> {
    const startMs = performance.now();
    const line = new Line(this.#keep(connect({ host: "127.0.0.1", ...options })), reads);
    onLine?.(line);
    return new Promise((resolve) => {
      const settle = (): void => {
        line.connectMs = performance.now() - startMs;
        resolve(line);
      };
      line.socket.once("connect", settle).once("close", settle);
    });
  }

  /** Connects `count` times, one after the other, so that no accept queue can overflow. */
  async dialAll(count: number, options: DialOptions): Promise<Line[]> {
    const lines: Line[] = [];
    while (lines.length < count) lines.push(await this.dial(options));
    return lines;
  }

  /** Closes all of them. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#open) socket.destroy();
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket);
    return socket.once("close", () => this.#open.delete(socket));
  }
}

/** Does `work` with sockets of our own, and closes them whatever comes of it. */
export async function withSockets(work: (own: OwnSockets) => Promise<void>): Promise<void> {
  const own = new OwnSockets();
  try {
    await work(own);
  } finally {
    own.close();
  }
}

/** What listen() says: an errno, or `none`. */
export async function listenErrno(own: OwnSockets, port: number): Promise<string> {
  try {
    await own.listen({ port });
    return "none";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "?";
  }
}

/** How many of `lines` saw this error first; `none` for those without one. */
export function countErrno(lines: readonly Line[], errno: string): number {
  return lines.filter((line) => line.errno === errno).length;
}

/** Which end of a connection to `port`: that of whoever connected, or the one behind the listener. */
export type Side = "client" | "server";

/** Rows of the socket table in `state`, at one end of the connections to `port`. */
export function rows(
  bench: Bench,
  side: Side,
  state: TcpState,
  port = bench.port(),
): readonly SocketRecord[] {
  return bench
    .sockets()
    .filter(
      (row) => row.state === state && (side === "server" ? row.local : row.remote).port === port,
    );
}

/** How many ends of connections to `port` are in ESTABLISHED: two for each, when neither side has noticed anything. */
export function establishedEnds(bench: Bench, port = bench.port()): number {
  return (
    rows(bench, "client", "ESTABLISHED", port).length +
    rows(bench, "server", "ESTABLISHED", port).length
  );
}

/** Waits until `count` rows are in `state`; returns how many there were in the end. */
export async function settled(
  bench: Bench,
  count: number,
  [side, state, port]: readonly [side: Side, state: TcpState, port?: number],
): Promise<number> {
  return bench.until(
    () => rows(bench, side, state, port).length,
    (seen) => seen === count,
  );
}
