/**
 * nagle-delayed-ack: two small writes and a read cost 40 ms, on a network that needs a tenth of one.
 *
 * Nagle's algorithm holds a small segment back while an earlier one is unacknowledged. The delayed ACK holds the acknowledgement
 * back for 40 ms in the hope that an answer can carry it. A request made of two writes brings them together: the second half
 * waits for the ACK of the first, the ACK waits for an answer, and the answer waits for the second half.
 *
 * WATCH   TcpExtDelayedACKs: one for each request; Send-Q small and standing still
 * CAVEAT  the first request or the first few of a connection are fast: the kernel acknowledges at once while it is in quick-ack mode
 * SEE     tcp_nagle_check() in net/ipv4/tcp_output.c, tcp_delack_timer_handler() in net/ipv4/tcp_timer.c; RFC 9293 section 3.7.4
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { establishedEnds, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const HALF = Buffer.alloc(32, "x");
const DELAY_MS = 30;
const QUICK = 8;

type Params = { readonly requests: number };

/** A server that answers each whole request with one byte. */
async function answering(own: OwnSockets, noDelay: boolean): Promise<number> {
  const { port } = await own.listen({
    noDelay,
    onLine: (line) => {
      let answered = 0;
      line.socket.on("data", () => {
        for (; line.bytes >= (answered + 1) * 2 * HALF.length; answered += 1)
          line.socket.write("!");
      });
    },
  });
  return port;
}

/** How a request of two halves is written. */
type Write = (line: Line) => Promise<void>;

const inTwoTurns: Write = async ({ socket }) => {
  socket.write(HALF);
  await new Promise((resolve) => setImmediate(resolve));
  socket.write(HALF);
};

const asOne: Write = ({ socket }) => {
  socket.write(Buffer.concat([HALF, HALF]));
  return Promise.resolve();
};

const corked: Write = async ({ socket }) => {
  socket.cork();
  socket.write(HALF);
  await new Promise((resolve) => setImmediate(resolve));
  socket.write(HALF);
  socket.uncork();
};

/** Milliseconds from the first half of each request to its answer, in order of size. */
async function times(line: Line, requests: number, write: Write): Promise<number[]> {
  const durations: number[] = [];
  for (let request = 0; request < requests; request += 1) {
    const answer = new Promise((resolve) => line.socket.once("data", resolve));
    const startMs = performance.now();
    await write(line);
    await answer;
    durations.push(performance.now() - startMs);
  }
  return durations.sort((a, b) => a - b);
}

function median(sorted: readonly number[]): number {
  return Math.round((sorted[Math.floor(sorted.length / 2)] ?? NaN) * 10) / 10;
}

/** The server's noDelay is its own business: it concerns answers only. */
async function slow(
  bench: Bench,
  { requests, server }: { requests: number; server: boolean },
): Promise<void> {
  await withSockets(async (own) => {
    const typical = bench.predict(
      "median of a request (ms)",
      atLeast(DELAY_MS),
      "the delayed ACK takes 40 ms, and what the clock's ticks make of it",
    );
    const delayed = bench.predict(
      "delayed ACKs (TcpExtDelayedACKs)",
      atLeast(requests - QUICK),
      "one for each request after the first few",
    );
    const ends = bench.predict("ESTABLISHED, both ends", 2, "no state shows it, and no error");
    const port = await answering(own, server);
    const line = await own.dial({ port });
    const durations = await times(line, requests, inTwoTurns);
    ends.measured(establishedEnds(bench, port));
    typical.measured(median(durations));
    delayed.measured(bench.counted("TcpExtDelayedACKs"));
  });
}

async function fast(
  bench: Bench,
  { requests, noDelay }: { requests: number; noDelay: boolean },
  write: Write,
): Promise<void> {
  await withSockets(async (own) => {
    const typical = bench.predict(
      "median of a request (ms)",
      atMost(DELAY_MS / 2),
      "no ACK is waited for; the rest is the machine's load",
    );
    const delayed = bench.predict(
      "delayed ACKs (TcpExtDelayedACKs)",
      atMost(Math.floor(requests / 2)),
      "only a request that a busy machine delays",
    );
    const line = await own.dial({ port: await answering(own, true), noDelay });
    const durations = await times(line, requests, write);
    typical.measured(median(durations));
    delayed.measured(bench.counted("TcpExtDelayedACKs"));
  });
}

const broken = {
  about: "write, write, read with Node's default (noDelay: false): 40 ms each",
  run: async (bench: Bench, { requests }: Params) => {
    bench.say(`${requests} requests, one after the other; each is written in two halves.`);
    await slow(bench, { requests, server: false });
  },
};

const control = {
  about: "the same requests, each written at once: write, read",
  run: (bench: Bench, { requests }: Params) => fast(bench, { requests, noDelay: false }, asOne),
};

const noDelay = {
  about: "noDelay: true (TCP_NODELAY): the second half does not wait",
  run: (bench: Bench, { requests }: Params) => fast(bench, { requests, noDelay: true }, inTwoTurns),
};

const cork = {
  about: "cork() and uncork(): both halves leave together, Nagle stays on",
  run: (bench: Bench, { requests }: Params) => fast(bench, { requests, noDelay: false }, corked),
};

const serverSide = {
  about: "noDelay on the server alone: it is the client's second half that waits",
  run: (bench: Bench, { requests }: Params) => slow(bench, { requests, server: true }),
};

export default defineLab({
  name: "nagle-delayed-ack",
  summary: "a request in two small writes takes 40 ms: Nagle waits for a delayed ACK",
  tags: ["data"],
  params: { requests: [29, "requests, one after the other", [23, 300]] },
  story: {
    see: "Each request takes 40 ms and more, while the machine is idle; written at once it takes a tenth of one.",
    why:
      "Two good ideas meet. The sender's kernel may have one small segment under way and keeps the next until the first is acknowledged (Nagle). " +
      "The receiver's kernel waits with an ACK, 40 ms at least and 200 ms at most, in case the program answers and the ACK can ride along (delayed ACK). " +
      "With write, write, read the program cannot answer before it has the second half, and the second half cannot leave before the ACK.",
    recognise: [
      ["nstat -az TcpExtDelayedACKs", "at the receiver: rises with each request"],
      ["tcpdump -ttt -ni any 'tcp port PORT'", "pauses of 40 ms before a bare ACK"],
      [
        "strace -f -e trace=setsockopt,write,writev -p PID",
        "several small writes for one message; no TCP_NODELAY",
      ],
    ],
    symptoms: ["40 ms more for every small request", "TcpExtDelayedACKs rises with the requests"],
    fix: [
      "Write a message at once: one buffer, writev(), or cork() and uncork().",
      "noDelay: true in connect() and createServer() (TCP_NODELAY). http sets it in Node, net does not.",
      "Do not switch off delayed ACKs at the receiver: it is usually not yours, and TCP_QUICKACK does not last.",
    ],
    reports: ["blackbeam/rust-mysql-simple#134", "steffengy/tiberius#46"],
  },
  arms: { broken, control, fixed: [noDelay, cork], myth: [serverSide] },
});
