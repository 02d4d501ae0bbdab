/**
 * head-of-line: one lost packet holds up every stream of a connection, those that lost nothing included.
 *
 * TCP hands over bytes in their order or not at all. If seven streams share a connection and a packet of the first is lost, the
 * others lie in the receiver's out-of-order queue, unreadable, or are held back by a sender that has become careful, until the
 * hole is filled. On connections of their own they would not even notice.
 *
 * WATCH   TCPOFOQueue; the order in which streams are answered
 * CAVEAT  three copies of one packet are dropped, so that the hole stays open for as long as on a path with a large delay
 * NEEDS   nft
 * SEE     tcp_data_queue_ofo() in net/ipv4/tcp_input.c; RFC 9000 section 2 (QUIC: streams without this)
 */
import { readSysctl } from "../kernel/sysctl.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import { establishedEnds, withSockets, type OwnSockets } from "../lab/network.ts";

const FRAME_BYTES = 16;
const COPIES = 3;
const RTO_MS = 200;
/** The kernel's timers count in ticks of its own clock: each may be early by one or two. */
const TICKS_MS = 10;
/** Behind the TCP header, which is 32 bytes long with time stamps. */
const FIRST_BYTE = "@th,256,8";
const RMEM = "net.ipv4.tcp_rmem";
const LARGER = 8;

type Params = { readonly streams: number };

/** When which stream was answered. */
type Answers = {
  /** Streams in the order of their answers. */
  readonly order: readonly number[];
  readonly firstMs: number;
  /** Segments that had to wait in the receiver's kernel for an earlier one. */
  readonly outOfOrder: number;
};

/** One frame of each stream, all at once, over so many connections; stream 0 may lose its frame a few times. */
async function exchange(
  bench: Bench,
  own: OwnSockets,
  { streams, connections, isLossy }: { streams: number; connections: number; isLossy: boolean },
): Promise<Answers> {
  bench.sysctl("net.ipv4.tcp_timestamps", 1);
  const { port } = await bench.server();
  const lines = await own.dialAll(connections, { port, noDelay: true });
  if (isLossy) {
    const which = `tcp dport ${port} ${FIRST_BYTE} ${firstByte(0)} numgen inc mod 1000 < ${COPIES}`;
    thisHost(bench).filter("input", [`tcp flags & psh == psh ${which} counter drop`]);
  }
  const order: number[] = [];
  const startMs = performance.now();
  let firstMs = 0;
  for (const { socket } of lines) {
    let rest = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      if (order.length === 0) firstMs = performance.now() - startMs;
      rest = Buffer.concat([rest, chunk]);
      for (; rest.length >= FRAME_BYTES; rest = rest.subarray(FRAME_BYTES))
        order.push((rest[0] ?? 0) - firstByte(0));
    });
  }
  for (let stream = 0; stream < streams; stream += 1) {
    lines[stream % connections]?.socket.write(Buffer.alloc(FRAME_BYTES, firstByte(stream)));
    // Node joins what is written in one turn of its loop.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await bench.until(
    () => order.length,
    (count) => count === streams,
  );
  return { order, firstMs, outOfOrder: bench.counted("TcpExtTCPOFOQueue") };
}

function firstByte(stream: number): number {
  return "A".charCodeAt(0) + stream;
}

/** How many streams were answered before the one that lost a packet. */
function beforeTheLost({ order }: Answers): number {
  return order.indexOf(0);
}

const REPAIR_MS = 2 * (RTO_MS - TICKS_MS);

/** All streams on one connection, and a hole at its head. */
async function stalled(bench: Bench, { streams }: Params): Promise<void> {
  bench.say(
    `${streams} streams send one frame each, on one connection. ${COPIES} copies of the first frame are lost.`,
  );
  const before = bench.predict("streams answered before the lost one", 0, "nothing may overtake");
  const waiting = bench.predict(
    "segments out of order (TCPOFOQueue)",
    between(1, streams - 1),
    "there, and not readable; the sender, careful after a loss, holds back the rest",
  );
  const first = bench.predict(
    "ms until any stream is answered",
    atLeast(REPAIR_MS),
    "a probe or time-out after 200 ms, and one more",
  );
  const all = bench.predict("streams answered in the end", streams);
  const ends = bench.predict("ESTABLISHED, both ends", 2, "no state shows it, and no error");
  await withSockets(async (own) => {
    const answers = await exchange(bench, own, { streams, connections: 1, isLossy: true });
    ends.measured(establishedEnds(bench));
    before.measured(beforeTheLost(answers));
    waiting.measured(answers.outOfOrder);
    first.measured(Math.round(answers.firstMs));
    all.measured(answers.order.length);
  });
}

/** Several connections: only streams that share the lossy one wait. */
async function spread(bench: Bench, { streams }: Params, connections: number): Promise<void> {
  const together = Math.ceil(streams / connections);
  const before = bench.predict(
    "streams answered before the lost one",
    streams - together,
    together === 1 ? "all others" : `all but the ${together} on its connection`,
  );
  const waiting = bench.predict(
    "segments out of order (TCPOFOQueue)",
    together === 1 ? 0 : atMost(together - 1),
  );
  const repeated = bench.predict(
    "segments repeated (RetransSegs)",
    atLeast(COPIES),
    "the same loss",
  );
  const all = bench.predict("streams answered in the end", streams);
  await withSockets(async (own) => {
    const answers = await exchange(bench, own, { streams, connections, isLossy: true });
    before.measured(beforeTheLost(answers));
    waiting.measured(answers.outOfOrder);
    repeated.measured(bench.counted("TcpRetransSegs"));
    all.measured(answers.order.length);
  });
}

const broken = {
  about: "seven streams on one connection: the first one's loss is everybody's",
  run: (bench: Bench, params: Params) => stalled(bench, params),
};

const control = {
  about: "the same streams on one connection, and nothing is lost",
  run: async (bench: Bench, { streams }: Params) => {
    const waiting = bench.predict("segments out of order (TCPOFOQueue)", 0);
    const all = bench.predict("streams answered in the end", streams);
    await withSockets(async (own) => {
      const answers = await exchange(bench, own, { streams, connections: 1, isLossy: false });
      waiting.measured(answers.outOfOrder);
      all.measured(answers.order.length);
    });
  },
};

const oneEach = {
  about: "a connection for each stream: only the one with the loss waits",
  run: (bench: Bench, params: Params) => spread(bench, params, params.streams),
};

const twoConnections = {
  about: "two connections: half of the streams go on",
  run: (bench: Bench, params: Params) => spread(bench, params, 2),
};

const largerBuffer = {
  about: "a larger receive buffer: the data has arrived, what is missing is the packet before it",
  run: async (bench: Bench, params: Params) => {
    const [least = NaN, initial = NaN, most = NaN] = (readSysctl(RMEM) ?? "")
      .split(" ")
      .map(Number);
    bench.sysctl(RMEM, [least, LARGER * initial, Math.max(most, LARGER * initial)].join(" "));
    await stalled(bench, params);
  },
};

export default defineLab({
  name: "head-of-line",
  summary: "one lost packet holds up all streams that share its connection",
  tags: ["data"],
  params: { streams: [7, "streams; at most 9 fit into the first window", [2, 9]] },
  story: {
    see: "Six of seven streams have lost nothing, and none of them is answered before the first one's lost packet is repeated.",
    why:
      "A connection is one sequence of bytes. HTTP/2, gRPC, database drivers and message brokers cut it into streams, but the kernel does not know them: " +
      "it keeps what came too early in an out-of-order queue until the hole before it is filled. One loss costs all streams a round trip at best, and 200, 400, 800 ms " +
      "when a timer has to notice. With a loss of one or two in a hundred a page over HTTP/2 can be slower than over six HTTP/1.1 connections. QUIC was made for " +
      "this: its streams are known to the layer that repairs losses.",
    recognise: [
      ["nstat -az TcpExtTCPOFOQueue", "segments that came before their turn"],
      ["nstat -az TcpRetransSegs TcpExtTCPTimeouts", "losses at the sender"],
      ["ss -tin", "rcv_ooopack: packets out of order on this connection; retrans: at the sender"],
    ],
    symptoms: [
      "all requests of one connection stall together, and go on together",
      "TcpExtTCPOFOQueue rises",
      "latency with steps of 200 ms on gRPC or HTTP/2, over lossy paths only",
    ],
    fix: [
      "Several connections for what must not wait for each other: bulk apart from control, a small pool instead of a single channel. " +
        "In Node each http2.connect() is one connection; http.Agent has maxSockets of them.",
      "HTTP/3 (QUIC) over paths with loss; datagrams for what may be lost.",
      "Smaller messages do not help, nor do priorities: the order is fixed as soon as the bytes are written.",
    ],
    needs: ["nft (package nftables), to lose packets"],
    reports: ["envoyproxy/envoy#2632", "xtaci/smux#20", "bagder/http2-explained#166"],
  },
  arms: {
    broken,
    control,
    fixed: [oneEach, twoConnections],
    myth: [largerBuffer],
  },
});
