/**
 * loss-and-rto: one lost packet costs a fifth of a second, if it was the last one; if others follow, nearly nothing.
 *
 * A sender learns of a loss from what arrives after it: the receiver acknowledges (SACK) what came later, and the hole is
 * filled within a round trip. Behind a small request there is nothing. Then only a timer helps: a loss probe after about
 * 200 ms, then the retransmission time-out (RTO, 200 ms or more beyond a round trip), which doubles each time.
 *
 * WATCH   RetransSegs with TCPLossProbes and TCPTimeouts (timers) or with TCPFastRetrans (no timer)
 * CAVEAT  every fifth packet with data is dropped, not a random one: so the numbers can be predicted
 * NEEDS   nft
 * SEE     tcp_retransmit_timer() in net/ipv4/tcp_timer.c, net/ipv4/tcp_recovery.c; RFC 6298, RFC 8985 (RACK-TLP)
 */
import { readSysctl } from "../kernel/sysctl.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import { establishedEnds, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const HELLO = "hello, TCP";
const EVERY = 5;
const RTO_MIN_MS = 200;
const SHORT_RTO_MS = 50;
/** The kernel's timers count in ticks of its own clock: they may be early by one or two. */
const TICKS_MS = 10;
const COPIES = 3;

type Params = { readonly messages: number };

/** How many copies are lost until `messages` have arrived, when the last one of every `EVERY` packets is lost. */
function losses(messages: number): number {
  return Math.floor((messages - 1) / (EVERY - 1));
}

/** Drops packets with data on their way into the server, as the network would: the sender is not told. */
function lose(bench: Bench, port: number, which: string): void {
  const rule = `tcp dport ${port} tcp flags & psh == psh numgen inc ${which} counter drop`;
  thisHost(bench).filter("input", [rule]);
}

const EVERY_FIFTH = `mod ${EVERY} == ${EVERY - 1}`;

async function connected(bench: Bench, own: OwnSockets, which?: string): Promise<Line> {
  // The system's own choice of congestion control would do the same here, and may not be installed elsewhere.
  bench.sysctl("net.ipv4.tcp_congestion_control", "reno");
  const { port } = await bench.server();
  if (which !== undefined) lose(bench, port, which);
  return own.dial({ port, noDelay: true });
}

/** Sends messages, each after the echo of the last; returns how long each of them took. */
async function takeTurns({ socket }: Line, messages: number): Promise<readonly number[]> {
  const durations: number[] = [];
  while (durations.length < messages) {
    const startMs = performance.now();
    const echoed = new Promise((resolve) => {
      socket.once("data", resolve).once("close", resolve);
    });
    socket.write(HELLO);
    await echoed;
    durations.push(performance.now() - startMs);
  }
  return durations;
}

/** Sends messages without waiting for their echoes, each in a packet of its own. */
async function streamAll(bench: Bench, line: Line, messages: number): Promise<void> {
  for (let sent = 0; sent < messages; sent += 1) {
    line.socket.write(HELLO);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await bench.until(
    () => line.bytes,
    (bytes) => bytes === messages * HELLO.length,
  );
}

/** The receiver says by itself which repetitions it did not need. */
function needless(bench: Bench): { counter: string; value: number; because: string } {
  return {
    counter: "TcpExtTCPDSACKRecv",
    value: bench.counted("TcpExtTCPDSACKRecv"),
    because: "repeated without need: the segment that was lost had carried an ACK as well",
  };
}

function timers(bench: Bench): number {
  return bench.counted("TcpExtTCPLossProbes") + bench.counted("TcpExtTCPTimeouts");
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** One message at a time over a path that loses every fifth packet. */
async function turns(
  bench: Bench,
  { messages }: Params,
  more: (bench: Bench, durations: readonly number[]) => void,
): Promise<void> {
  await withSockets(async (own) => {
    const lost = losses(messages);
    const echoes = bench.predict("bytes echoed", messages * HELLO.length, "TCP repairs it all");
    const errno = bench.predict("error that the program sees", "none");
    const ends = bench.predict("ESTABLISHED, both ends", 2, "no state shows it");
    const repeated = bench.predict(
      "segments repeated (RetransSegs)",
      lost,
      `one of ${EVERY} packets is lost, until ${messages} are through`,
    );
    const timed = bench.predict("by a timer (TCPLossProbes, TCPTimeouts)", atLeast(lost));
    const fast = bench.predict("without one (TCPFastRetrans)", 0, "nothing comes behind a request");
    const line = await connected(bench, own, EVERY_FIFTH);
    const durations = await takeTurns(line, messages);
    echoes.measured(line.bytes);
    errno.measured(line.errno);
    ends.measured(establishedEnds(bench));
    repeated.measured(bench.counted("TcpRetransSegs"), needless(bench));
    timed.measured(timers(bench));
    fast.measured(bench.counted("TcpExtTCPFastRetrans"));
    more(bench, durations);
  });
}

const broken = {
  about: "request and answer: each loss is the last packet, and a timer of 200 ms has to notice",
  run: async (bench: Bench, params: Params) => {
    const lost = losses(params.messages);
    bench.say(
      `${params.messages} messages, each after the echo of the last. Every ${EVERY}th packet is lost.`,
    );
    const slow = bench.predict(
      `echoes slower than ${RTO_MIN_MS - TICKS_MS} ms`,
      atLeast(lost),
      "one for each loss; a busy machine may add some",
    );
    await turns(bench, params, (_, durations) => {
      slow.measured(durations.filter((ms) => ms > RTO_MIN_MS - TICKS_MS).length);
    });
  },
};

const control = {
  about: "the same messages over a path that loses nothing",
  run: (bench: Bench, { messages }: Params) =>
    withSockets(async (own) => {
      const echoes = bench.predict("bytes echoed", messages * HELLO.length);
      const timed = bench.predict("segments repeated for a loss", 0);
      const line = await connected(bench, own);
      await takeTurns(line, messages);
      echoes.measured(line.bytes);
      timed.measured(bench.counted("TcpRetransSegs"), needless(bench));
    }),
};

const pipelined = {
  about: "do not wait for each answer: what follows reveals the loss within a round trip",
  run: (bench: Bench, { messages }: Params) =>
    withSockets(async (own) => {
      const echoes = bench.predict("bytes echoed", messages * HELLO.length);
      const fast = bench.predict(
        "holes filled at once (TCPFastRetrans)",
        atLeast(1),
        "packets that are sent together share one loss",
      );
      const timed = bench.predict(
        "by a timer (TCPLossProbes, TCPTimeouts)",
        atMost(2),
        "only the last packet has nothing behind it: a probe, and a timeout when that is lost too",
      );
      const line = await connected(bench, own, EVERY_FIFTH);
      await streamAll(bench, line, messages);
      echoes.measured(line.bytes);
      fast.measured(bench.counted("TcpExtTCPFastRetrans"));
      timed.measured(timers(bench));
    }),
};

const shorterRto = {
  about: `tcp_rto_min_us=${SHORT_RTO_MS * 1_000}: inside a data centre nobody has to wait for 200 ms`,
  run: async (bench: Bench, params: Params) => {
    const name = "net.ipv4.tcp_rto_min_us";
    bench.need(readSysctl(name) !== undefined, `needs ${name} (Linux 6.11 or later)`);
    bench.sysctl(name, SHORT_RTO_MS * 1_000);
    const lost = losses(params.messages);
    const total = bench.predict(
      "ms for all messages",
      atMost(lost * RTO_MIN_MS - 1),
      `${lost} losses of ${RTO_MIN_MS} ms are more than that`,
    );
    await turns(bench, params, (_, durations) => total.measured(Math.round(sum(durations))));
  },
};

const fewerRetries = {
  about: "tcp_retries2=5: it says when to give up, not when to repeat; each wait is twice the last",
  run: (bench: Bench) =>
    withSockets(async (own) => {
      bench.sysctl("net.ipv4.tcp_retries2", 5);
      bench.say(`One message, of which the first ${COPIES} copies are lost.`);
      const repeated = bench.predict("segments repeated (RetransSegs)", COPIES);
      const probes = bench.predict("the first by TCPLossProbes", 1);
      const timeouts = bench.predict("the others by TCPTimeouts", COPIES - 1);
      const waited = bench.predict(
        "ms until its echo",
        atLeast(4 * RTO_MIN_MS - 3 * TICKS_MS),
        "200 (probe) + 200 + 400 (time-outs)",
      );
      const line = await connected(bench, own, `mod 1000 < ${COPIES}`);
      const durations = await takeTurns(line, 1);
      repeated.measured(bench.counted("TcpRetransSegs"));
      probes.measured(bench.counted("TcpExtTCPLossProbes"));
      timeouts.measured(bench.counted("TcpExtTCPTimeouts"));
      waited.measured(Math.round(sum(durations)));
    }),
};

export default defineLab({
  name: "loss-and-rto",
  summary:
    "one lost packet costs 200 ms when nothing comes behind it, and more when it is lost again",
  tags: ["data"],
  params: { messages: [23, "messages of ten bytes", [10, 200]] },
  story: {
    see: "Every fifth packet is lost and every byte arrives. But each loss takes 200 ms in request-and-answer traffic, and nothing at all in a stream.",
    why:
      "TCP hides loss and cannot hide time. If packets follow the lost one, their SACKs tell the sender what is missing, and RACK repairs it after about a round trip. " +
      "The last packet of a request has no followers: Linux sends a loss probe after two round trips, but with one packet under way it allows for a delayed ACK, 200 ms. If " +
      "that is lost, too, the retransmission time-out follows: the measured round trip, and on top of it four times its variation, but at least 200 ms (300 ms in all where the " +
      "round trip is 100 ms); doubled each time. Between neighbours latencies then have steps: 0.2, 0.4, 0.8, 1.6 s. After tcp_retries2 repetitions (15, about a quarter of an hour) write() fails with ETIMEDOUT.",
    recognise: [
      ["nstat -az TcpRetransSegs TcpOutSegs", "more than one in a thousand is a lot"],
      [
        "nstat -az TcpExtTCPTimeouts TcpExtTCPLossProbes TcpExtTCPFastRetrans",
        "repaired by timers, or at once",
      ],
      [
        "ss -tino",
        "rto:, backoff:, retrans:now/ever, timer:(on,...) while a repetition is pending",
      ],
      ["ethtool -S eth0 | grep -i drop; tc -s qdisc", "where packets get lost on this side"],
    ],
    symptoms: [
      "latencies with steps at 200 ms, 400 ms, 800 ms",
      "TcpRetransSegs, TcpExtTCPTimeouts, TcpExtTCPLossProbes rise",
      "timer:(on,...) and backoff: in ss",
      "ETIMEDOUT from write(), after minutes",
    ],
    fix: [
      "Keep more than one request under way: pipelining or multiplexing, HTTP/2 (in Node: http2.connect()), batches. What follows repairs what went before.",
      "Inside a data centre a smaller least RTO: ip route ... rto_min 50ms, or net.ipv4.tcp_rto_min_us (Linux 6.11).",
      "Hedged requests and deadlines in the program (in Node: AbortSignal.timeout()); find and mend the path itself (duplex mismatch, full queues, a policer).",
    ],
    needs: [
      "nft (package nftables), to lose packets",
      "Linux 6.11 or later for one arm: net.ipv4.tcp_rto_min_us",
    ],
    reports: [
      "grobian/carbon-c-relay#284",
      "elastic/elasticsearch#102788",
      "linkerd/linkerd2#13023",
    ],
  },
  arms: { broken, control, fixed: [pipelined, shorterRto], myth: [fewerRetries] },
});
