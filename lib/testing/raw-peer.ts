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
  let pending = Buffer.alloc(0);
  let hasEnded = false;
  let wake: () => void = () => undefined;
  socket.on("data", (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    wake();
  });
  const end = (): void => {
    hasEnded = true;
    wake();
  };
  if (socket.connecting) await once(socket, "connect");
  socket.on("end", end).on("close", end).on("error", end);
  const take = (): Record<string, unknown> | undefined => {
    if (pending.length < 4) return undefined;
    const length = pending.readUInt32BE(0);
    if (pending.length < 4 + length) return undefined;
    const payload = pending.subarray(4, 4 + length);
    pending = pending.subarray(4 + length);
    return JSON.parse(payload.toString()) as Record<string, unknown>;
  };
  const next = async (deadlineMs = 5_000): Promise<Record<string, unknown> | undefined> => {
    const endMs = performance.now() + deadlineMs;
    for (;;) {
      const message = take();
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
