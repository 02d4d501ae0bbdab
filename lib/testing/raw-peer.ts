/** raw-peer: a client that knows nothing but bytes: what a test writes goes onto the wire as it is, and frames are cut by hand. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** What came, and how it ended. */
export type RawPeer = {
  readonly socket: Socket;
  /** Writes bytes, or the hexadecimal digits of some. */
  readonly send: (bytes: Buffer | string) => void;
  /** The next message; undefined at the end of the stream. Fails after `deadlineMs`. */
  readonly next: (deadlineMs?: number) => Promise<Record<string, unknown> | undefined>;
  /** Messages until the stream ends. */
  readonly rest: () => Promise<Record<string, unknown>[]>;
  readonly destroy: () => void;
};

/** A payload with its length before it. */
export function framed(payload: unknown): Buffer {
  const bytes = Buffer.isBuffer(payload)
    ? payload
    : Buffer.from(typeof payload === "string" ? payload : JSON.stringify(payload));
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

/** Connects; rejects as connect(2) does. */
export async function rawPeer(
  port: number,
  socket: Socket = connect(port, "127.0.0.1"),
): Promise<RawPeer> {
  const incoming = new Incoming();
  let hasEnded = false;
  let wake: () => void = () => undefined;
  socket.on("data", (chunk: Buffer) => {
    incoming.push(chunk);
    wake();
  });
  const end = (): void => {
    hasEnded = true;
    wake();
  };
  if (socket.connecting) await once(socket, "connect");
  socket.on("end", end).on("close", end).on("error", end);
  const next = async (deadlineMs = 5_000): Promise<Record<string, unknown> | undefined> => {
    const endMs = performance.now() + deadlineMs;
    for (;;) {
      const message = incoming.take();
      if (message !== undefined || hasEnded) return message;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw new Error(`no message within ${deadlineMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  const rest = async (): Promise<Record<string, unknown>[]> => {
    const messages = [];
    for (let message = await next(); message !== undefined; message = await next())
      messages.push(message);
    return messages;
  };
  return {
    socket,
    send: (bytes) =>
      socket.write(
        typeof bytes === "string" ? Buffer.from(bytes.replaceAll(" ", ""), "hex") : bytes,
      ),
    next,
    rest,
    destroy: () => socket.destroy(),
  };
}

/** What has come, put together only when a message is whole: of 15 MB in pieces nothing is copied more than twice. */
class Incoming {
  #pieces: Buffer[] = [];
  #bytes = 0;
  #neededBytes = 4;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  take(): Record<string, unknown> | undefined {
    if (this.#bytes < this.#neededBytes) return undefined;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    this.#neededBytes = 4 + all.readUInt32BE(0);
    if (this.#bytes < this.#neededBytes) return undefined;
    this.#pieces = [all.subarray(this.#neededBytes)];
    this.#bytes -= this.#neededBytes;
    const payload = all.subarray(4, this.#neededBytes);
    this.#neededBytes = 4;
    return JSON.parse(payload.toString()) as Record<string, unknown>;
  }
}
