/**
 * message-boundaries: TCP is a stream of bytes. One write is not one read.
 *
 * Segments are cut and joined as the kernel likes: by size, by Nagle's algorithm, by what is in the receive queue when the program
 * reads. A program that takes each 'data' event for one message works in tests, where messages are small and far apart, and fails
 * under load, when two arrive together or one arrives in parts.
 *
 * WATCH   'data' events: fewer than messages when these are small, more when they are large
 * CAVEAT  how the stream is cut is not predictable, and must not matter
 * SEE     RFC 9293 section 3.8 (a stream of octets); tcp_recvmsg() in net/ipv4/tcp.c
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { withSockets, type Line, type OwnSockets } from "../lab/network.ts";
import { encodeFrame, FrameDecoder } from "../protocol/json/frames.ts";
import type { SocketRecord } from "../sockets/record.ts";

const SMALL_BYTES = 23;
const LARGE_BYTES = 200_003;
const PAUSE_MS = 5;
/** Node reads no more than this at once. */
const READ_BYTES = 65_536;

type Params = { readonly messages: number };

/** What a receiver was given: the sizes of its chunks. */
type Received = { readonly chunks: readonly Buffer[]; readonly bytes: number };

/** Sends in the given way; the receiver keeps every chunk as it came. */
async function send(
  bench: Bench,
  own: OwnSockets,
  { total, write }: { total: number; write: (line: Line) => Promise<void> },
): Promise<Received> {
  const chunks: Buffer[] = [];
  const server = await own.listen({
    onLine: ({ socket }) => socket.on("data", (chunk) => chunks.push(chunk)),
  });
  const line = await own.dial({ port: server.port, noDelay: true });
  await write(line);
  const bytes = await bench.until(
    () => server.lines.reduce((sum, { bytes }) => sum + bytes, 0),
    (count) => count === total,
  );
  return { chunks, bytes };
}

/** Writes that are made one after the other, each a write(2) of its own. */
async function writeAll(line: Line, messages: readonly Buffer[]): Promise<void> {
  for (const message of messages)
    await new Promise((resolve) => line.socket.write(message, resolve));
}

function repeated(count: number, bytes: number): readonly Buffer[] {
  return Array.from({ length: count }, (_, index) => Buffer.alloc(bytes, index));
}

/** Recv-Q of a connection; that of a listener counts connections. */
function unread({ state, recvQ = 0 }: SocketRecord): number {
  return state === "LISTEN" ? 0 : recvQ;
}

function exactly({ chunks }: Received, bytes: number): number {
  return chunks.filter(({ length }) => length === bytes).length;
}

const broken = {
  about: "each 'data' event taken for one message: small ones stick together, large ones break",
  run: async (bench: Bench, { messages }: Params) => {
    bench.say(
      `${messages} messages of ${SMALL_BYTES} bytes, then ${messages} of ${LARGE_BYTES} bytes.`,
    );
    await withSockets(async (own) => {
      const together = bench.predict(
        "small: 'data' events",
        atMost(messages - 1),
        "several in one",
      );
      const segments = bench.predict(
        "small: segments with data (TCPOrigDataSent)",
        between(1, messages),
        "one for each write, unless the kernel joins some",
      );
      const small = bench.predict("small: bytes that arrived", messages * SMALL_BYTES);
      const parts = bench.predict(
        "large: 'data' events",
        atLeast(Math.ceil((messages * LARGE_BYTES) / READ_BYTES)),
        "64 KiB at most each",
      );
      const whole = bench.predict("large: events with a whole message", 0);
      const large = bench.predict("large: bytes that arrived", messages * LARGE_BYTES);
      const left = bench.predict("bytes left in the kernel (Recv-Q)", 0, "nothing is missing");
      const first = await send(bench, own, {
        total: messages * SMALL_BYTES,
        // All in one turn of the event loop, before the receiver, in the same process, has read any.
        write: ({ socket }) => {
          for (const message of repeated(messages, SMALL_BYTES)) socket.write(message);
          return Promise.resolve();
        },
      });
      together.measured(first.chunks.length);
      segments.measured(bench.counted("TcpExtTCPOrigDataSent"));
      small.measured(first.bytes);
      const second = await send(bench, own, {
        total: messages * LARGE_BYTES,
        write: (line) => writeAll(line, repeated(messages, LARGE_BYTES)),
      });
      parts.measured(second.chunks.length);
      whole.measured(exactly(second, LARGE_BYTES));
      large.measured(second.bytes);
      left.measured(bench.sockets().reduce((sum, row) => sum + unread(row), 0));
    });
  },
};

const control = {
  about: "a small message, its answer, the next one: here one write happens to be one read",
  run: async (bench: Bench, { messages }: Params) => {
    await withSockets(async (own) => {
      const whole = bench.predict("'data' events with a whole message", messages);
      const bytes = bench.predict("bytes that arrived", messages * SMALL_BYTES);
      const chunks: Buffer[] = [];
      const server = await own.listen({
        onLine: ({ socket }) =>
          socket.on("data", (chunk) => {
            chunks.push(chunk);
            socket.write("ok");
          }),
      });
      const line = await own.dial({ port: server.port, noDelay: true });
      for (const message of repeated(messages, SMALL_BYTES)) {
        const answer = new Promise((resolve) => line.socket.once("data", resolve));
        line.socket.write(message);
        await answer;
      }
      whole.measured(exactly({ chunks, bytes: 0 }, SMALL_BYTES));
      bytes.measured(chunks.reduce((sum, { length }) => sum + length, 0));
    });
  },
};

/** The messages of a stream that was cut anywhere. */
function unframed({ chunks }: Received): readonly Buffer[] {
  const decoder = new FrameDecoder();
  const messages: Buffer[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      messages.push(frame.payload);
  }
  return messages;
}

const lengthPrefix = {
  about: "a length before each message: the receiver cuts, not the network",
  run: async (bench: Bench, { messages }: Params) => {
    await withSockets(async (own) => {
      const sent = [...repeated(messages, SMALL_BYTES), ...repeated(messages, LARGE_BYTES)];
      const frames = sent.map((message) => encodeFrame(message));
      const received = bench.predict("messages received whole", sent.length);
      const total = frames.reduce((sum, { length }) => sum + length, 0);
      const events = bench.predict(
        "'data' events they came in",
        atLeast(Math.ceil(total / READ_BYTES)),
        "64 KiB at most each; how many does not matter",
      );
      const result = await send(bench, own, {
        total,
        write: (line) => writeAll(line, frames),
      });
      const got = unframed(result);
      const isSame = (message: Buffer, index: number): boolean =>
        sent[index]?.equals(message) === true;
      received.measured(got.filter(isSame).length);
      events.measured(result.chunks.length);
    });
  },
};

/** Sends messages of one size with a pause after each. */
function sendSlowly(
  bench: Bench,
  own: OwnSockets,
  { messages, size }: { messages: number; size: number },
): Promise<Received> {
  return send(bench, own, {
    total: messages * size,
    write: async (line) => {
      for (const message of repeated(messages, size)) {
        await writeAll(line, [message]);
        await bench.pass(PAUSE_MS);
      }
    },
  });
}

const noDelay = {
  about:
    "TCP_NODELAY and a pause: small messages come apart, by luck; large ones break all the same",
  run: async (bench: Bench, { messages }: Params) => {
    await withSockets(async (own) => {
      const apart = bench.predict(
        "small: events with a whole message",
        atLeast(1),
        `a reader that is late by ${PAUSE_MS} ms gets two at once`,
      );
      const whole = bench.predict("large: events with a whole message", 0, "64 KiB at most each");
      const bytes = bench.predict("large: bytes that arrived", messages * LARGE_BYTES);
      const small = await sendSlowly(bench, own, { messages, size: SMALL_BYTES });
      apart.measured(exactly(small, SMALL_BYTES));
      const large = await sendSlowly(bench, own, { messages, size: LARGE_BYTES });
      whole.measured(exactly(large, LARGE_BYTES));
      bytes.measured(large.bytes);
    });
  },
};

export default defineLab({
  name: "message-boundaries",
  summary: "one write is not one read: messages stick together and break",
  tags: ["data"],
  params: { messages: [23, "messages of each size", [2, 500]] },
  story: {
    see: "Small messages arrive several at a time, large ones in parts; all bytes are there, in order, and their borders are not.",
    why:
      "TCP promises bytes in order and nothing about how they are grouped. The sender's kernel fills segments from its queue, the receiver's hands out " +
      "what it has, and Node reads up to 64 KiB at a time. Two messages sent in a hurry are one chunk; a large one is many. On a developer's " +
      "machine, with one client and small messages, chunks and messages agree by chance, and JSON.parse(chunk) works until the first day under load.",
    recognise: [
      [
        "journalctl -u SERVICE | grep -E 'Unexpected (end|non-whitespace)'",
        "JSON messages that were cut, or two in one",
      ],
      [
        "strace -f -e trace=read,write -s 16 -p PID",
        "reads whose sizes differ from the peer's writes",
      ],
      [
        "grep -n \"on('data'\" -A3 *.js",
        "a chunk that is parsed at once, without a buffer for the rest",
      ],
    ],
    symptoms: [
      "messages that arrive glued together, or in pieces",
      "JSON that cannot be parsed, now and then",
    ],
    fix: [
      "A length before each message, or an end mark after it (a newline), and a buffer for what is incomplete.",
      "Bound the length that you accept, or a peer can make you buffer without end.",
      "Use a protocol that has framing: HTTP, WebSocket, or readline for lines.",
    ],
    reports: ["juliuscc/heos-api#10", "reactphp/socket#204", "LordVonAdel/os2l#9"],
  },
  arms: { broken, control, fixed: [lengthPrefix], myth: [noDelay] },
});
