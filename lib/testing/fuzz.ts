/**
 * fuzz: throws malformed input at a live server of length-prefixed JSON, while well-behaved clients go on working beside it.
 *
 * Bounded and seeded: the same seed makes the same inputs.
 */
import { deflateSync } from "node:zlib";
import { connect } from "node:net";
import { framed, rawPeer, type RawPeer } from "./raw-peer.ts";

/** What came of it. */
export type FuzzResult = {
  readonly inputs: number;
  readonly connections: number;
  /** Answers of type error, by code; other answers under their type. */
  readonly answers: Readonly<Record<string, number>>;
  /** Exchanges of the well-behaved clients. */
  readonly exchanges: number;
};

/** A generator of 32-bit numbers (xorshift): fast, and the same everywhere. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Random = (below: number) => number;

function bytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}

const TEXTS = [
  "{",
  "}",
  "null",
  "[]",
  '""',
  "{}",
  '{"type":1}',
  '{"type":null}',
  '{"type":""}',
  '{"type":"echo"}',
  '{"type":"auth"}',
  '{"type":"hello","compression":7}',
  '{"type":"ping","id":[]}',
  '{"type":"echo","content":{"a":[1,2]}}',
  "[".repeat(5_000),
  '{"a":'.repeat(2_000),
  '{"type":"__proto__"}',
  '{"__proto__":{"type":"ping"}}',
  '{"type":"ping"}garbage',
  '"\\ud800"',
  "1e999",
  "\u0000",
  '{"type":"toString","id":"x"}',
  `{"type":"${"x".repeat(3_000)}"}`,
  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
] as const;

/** Compressed: no JSON, a bomb of 16 MiB, and one that is cut short; after them comes one of random bytes. */
const BOMB = deflateSync(Buffer.alloc(16 * 1_048_576, " "));
const PACKED = [deflateSync("x".repeat(4_096)), BOMB, BOMB.subarray(0, 1_000), undefined] as const;

/** A malformed input whose end the server can see: it goes on with the next one. */
function malformed(random: Random): Buffer {
  const kind = random(4);
  if (kind === 0) return framed(bytes(random, 1 + random(64)));
  if (kind === 1) return framed("");
  if (kind === 2) {
    // A good message with one byte of its payload changed.
    const message = framed({ type: "echo", content: "hello", id: random(100) });
    message[4 + random(message.length - 4)] = random(256);
    return message;
  }
  return framed(TEXTS[random(TEXTS.length)] ?? "{");
}

/** One after which nothing can be read any more. */
function fatal(random: Random): Buffer {
  const kind = random(4);
  const header = Buffer.alloc(4);
  if (kind === 0) return bytes(random, 1 + random(64));
  if (kind === 1) {
    header.writeUInt32BE(0x0010_0001 + random(0x7fef_0000));
    return Buffer.concat([header, bytes(random, random(32))]);
  }
  if (kind === 2) {
    const packed = PACKED[random(PACKED.length)] ?? bytes(random, 16);
    header.writeUInt32BE((packed.length | 0x8000_0000) >>> 0);
    return Buffer.concat([header, packed]);
  }
  return framed({ type: "echo", content: "cut short" }).subarray(0, 1 + random(20));
}

const HELLO = framed({ type: "hello", compression: ["deflate"] });

/** Sends so many inputs to the server on `port`, several on a connection, every fourth of which may compress; others work beside them. */
export async function fuzz(port: number, inputs: number, seed: number): Promise<FuzzResult> {
  const random = randomNumbers(seed);
  const answers: Record<string, number> = {};
  const good = await Promise.all(Array.from({ length: 3 }, () => rawPeer(port)));
  let isRunning = true;
  const working = good.map((peer) => exchange(peer, () => isRunning));
  let sent = 0;
  let connections = 0;
  const lane = async (): Promise<void> => {
    while (sent < inputs) {
      const batch = Math.min(inputs - sent, 1 + random(40));
      sent += batch;
      connections += 1;
      const input = [...Array.from({ length: batch - 1 }, () => malformed(random)), fatal(random)];
      if (connections % 4 === 0) input.unshift(HELLO);
      await throwAt(port, Buffer.concat(input), answers);
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  isRunning = false;
  const exchanges = (await Promise.all(working)).reduce((sum, count) => sum + count, 0);
  for (const peer of good) peer.destroy();
  return { inputs, connections, answers, exchanges };
}

/** Writes the bytes and a FIN, and counts what comes back until the server has closed, too. */
function throwAt(port: number, input: Buffer, answers: Record<string, number>): Promise<void> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, "127.0.0.1", () => socket.end(input));
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "ECONNRESET" && error.code !== "EPIPE") reject(error);
    });
    socket.on("close", () => {
      const all = Buffer.concat(chunks);
      for (let at = 0; at + 4 <= all.length; at += 4 + all.readUInt32BE(at)) {
        const text = all.toString("utf8", at + 4, at + 4 + all.readUInt32BE(at));
        const { code, type } = JSON.parse(text) as { code?: string; type: string };
        const what = code ?? type;
        answers[what] = (answers[what] ?? 0) + 1;
      }
      resolve();
    });
  });
}

/** Asks and checks the answer, over and over; throws when one is wrong. Returns how often it asked. */
async function exchange(peer: RawPeer, goesOn: () => boolean): Promise<number> {
  let count = 0;
  while (goesOn()) {
    peer.send(framed({ type: "echo", content: `${count}`, id: count }));
    const answer = await peer.next(10_000);
    if (answer?.["id"] !== count || answer["content"] !== `${count}`)
      throw new Error(`a well-behaved client got ${JSON.stringify(answer)} for exchange ${count}`);
    count += 1;
  }
  return count;
}
