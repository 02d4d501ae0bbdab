/**
 * time-wait-buckets: above tcp_max_tw_buckets the kernel throws TIME_WAIT away. A cap, not a cure.
 *
 * TIME_WAIT sockets are small, but not free, so the kernel limits their number. A connection that ends above the limit is just
 * forgotten: no TIME_WAIT, no error, no line in the kernel's log, only a counter. The ports are free at once, which looks like
 * relief; what TIME_WAIT protects from (a lost last ACK, late segments in the next connection) is back.
 *
 * WATCH   TIME_WAIT stops at the limit while connections go on; TCPTimeWaitOverflow counts the rest
 * CAVEAT  the limit counts for the network namespace; its default grows with memory (262144 on large machines)
 * SEE     inet_twsk_alloc() in net/ipv4/inet_timewait_sock.c, tcp_time_wait() in net/ipv4/tcp_minisocks.c; RFC 9293 section 3.6.1
 */
import { once } from "node:events";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { rows, withSockets } from "../lab/network.ts";
import type { ChurnResult } from "../protocol/churn.ts";
import type { VisitsSummary } from "../protocol/visits.ts";
import type { SocketRecord } from "../sockets/record.ts";

const FIRST_PORT = 40_000;

type Params = { readonly connections: number; readonly buckets: number };

/** Every connection needs a port of its own here: none is reused early. */
function noReuse(bench: Bench): void {
  bench.sysctl("net.ipv4.tcp_tw_reuse", 0);
}

/** Opens and closes connections, the client closing first. Resolves to how many succeeded. */
type Churn = (bench: Bench, connections: number, port: number) => Promise<number>;

/** At full speed: a connection need not be over when the next one begins. */
const bomb: Churn = async (bench, connections) => {
  const flags = ["--count", `${connections}`];
  return (await bench.run<ChurnResult>("bomb", flags)).successes;
};

/** Each when the one before is closed on both sides: only TIME_WAIT can hold a port then, however slow the server is. */
const oneByOne: Churn = async (_, connections, port) => {
  let successes = 0;
  await withSockets(async (own) => {
    for (let made = 0; made < connections; made += 1) {
      const { socket, errno } = await own.dial({ port });
      if (errno !== "none") continue;
      successes += 1;
      await once(socket.end(), "close");
    }
  });
  return successes;
};

async function measure(
  bench: Bench,
  { connections, kept }: { readonly connections: number; readonly kept: number },
  churn: Churn,
): Promise<void> {
  const { port } = await bench.server();
  const successes = bench.predict("connections that succeed", connections);
  const timeWait = bench.predict("TIME_WAIT, client's side", kept, "no more than the limit");
  const forgotten = bench.predict(
    "forgotten (TCPTimeWaitOverflow)",
    connections - kept,
    "connections - limit",
  );
  const sum = bench.predict("TcpExtTW + TCPTimeWaitOverflow", connections, "one or the other");
  const count = await churn(bench, connections, port);
  const view = await bench.settledView();
  const made = bench.counted("TcpExtTW");
  const overflows = bench.counted("TcpExtTCPTimeWaitOverflow");
  // A RST may end a TIME_WAIT early (RFC 1337): then one more has its place.
  const replaced = {
    counter: "TcpExtTW",
    value: made - view.clients.TIME_WAIT,
    because: "TIME_WAITs more than there are: a RST ended them early (RFC 1337)",
  };
  successes.measured(count);
  timeWait.measured(view.clients.TIME_WAIT, replaced);
  forgotten.measured(overflows, replaced);
  sum.measured(made + overflows);
}

const broken = {
  about: "fewer buckets than connections: TIME_WAIT stops at the limit, the rest is forgotten",
  run: async (bench: Bench, { connections, buckets }: Params) => {
    bench.need(connections > buckets, `${connections} connections fit into ${buckets} buckets`);
    noReuse(bench);
    bench.sysctl("net.ipv4.tcp_max_tw_buckets", buckets);
    bench.say(`${connections} connections; at most ${buckets} may be in TIME_WAIT.`);
    await measure(bench, { connections, kept: buckets }, bomb);
  },
};

const control = {
  about: "more buckets than connections: each one ends in TIME_WAIT",
  run: async (bench: Bench, { connections }: Params) => {
    noReuse(bench);
    bench.sysctl("net.ipv4.tcp_max_tw_buckets", 2 * connections);
    await measure(bench, { connections, kept: connections }, bomb);
  },
};

const reuse = {
  about: "fewer closes instead: a few connections carry as many requests, and nothing is forgotten",
  run: async (bench: Bench, { connections, buckets }: Params) => {
    noReuse(bench);
    bench.sysctl("net.ipv4.tcp_max_tw_buckets", buckets);
    const few = Math.floor(buckets / 2);
    const each = Math.ceil(connections / few);
    await bench.server();
    const answered = bench.predict("requests answered", few * each, `${few} connections`);
    const timeWait = bench.predict("TIME_WAIT, client's side", few);
    const forgotten = bench.predict("forgotten (TCPTimeWaitOverflow)", 0);
    const flags = ["--connections", `${few}`, "--messages", `${each}`];
    const result = await bench.run<VisitsSummary>("client", flags);
    answered.measured(result.echoes);
    timeWait.measured((await bench.settledView()).clients.TIME_WAIT);
    forgotten.measured(bench.counted("TcpExtTCPTimeWaitOverflow"));
  },
};

const asCure = {
  about: "a low limit as a cure for exhausted ports: it works, by leaving the ports unprotected",
  run: async (bench: Bench, { connections, buckets }: Params) => {
    noReuse(bench);
    const ports = 2 * buckets;
    bench.need(connections > ports, `${connections} connections fit into ${ports} ports`);
    bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
    bench.sysctl("net.ipv4.tcp_max_tw_buckets", buckets);
    const unprotected = bench.predict(
      "connections more than there are ports",
      connections - ports,
      `${ports} ports: so many times at least one was used again within 60 s`,
    );
    const elsewhere = bench.predict("TIME_WAIT on any other port", 0);
    await measure(bench, { connections, kept: buckets }, oneByOne);
    unprotected.measured(bench.counted("TcpActiveOpens") - ports);
    const isElsewhere = ({ local }: SocketRecord): boolean =>
      Number(local.port) < FIRST_PORT || Number(local.port) >= FIRST_PORT + ports;
    elsewhere.measured(rows(bench, "client", "TIME_WAIT").filter(isElsewhere).length);
  },
};

export default defineLab({
  name: "time-wait-buckets",
  summary: "above tcp_max_tw_buckets TIME_WAIT sockets vanish, and nobody is told",
  tags: ["closing"],
  params: {
    connections: [199, "connections, one after the other", [10, 1_000]],
    buckets: [23, "tcp_max_tw_buckets; the default grows with memory, up to 262144", [4, 1_000]],
  },
  story: {
    see: "TIME_WAIT grows to the limit and stays there although connections go on; every further close is counted as an overflow.",
    why:
      "At the end of a connection the kernel replaces the socket by a small TIME_WAIT one. When there are tcp_max_tw_buckets of them already " +
      "it makes none: the connection is gone without a trace. If the last ACK was lost, the peer repeats its FIN to a port that knows nothing, " +
      "gets a RST, and may report an error for a connection that ended well; a delayed segment may enter a new " +
      "connection with the same 4-tuple. A limit that was lowered to fight TIME_WAIT does exactly this, all the time.",
    recognise: [
      [
        "nstat -az TcpExtTCPTimeWaitOverflow",
        "how many connections have been forgotten: the only trace; a line in the log is from the years of Linux 2.6",
      ],
      ["tcp-states; sysctl net.ipv4.tcp_max_tw_buckets", "TIME_WAIT exactly at the limit"],
    ],
    symptoms: [
      "TIME_WAIT stops growing at a round number",
      "TcpExtTCPTimeWaitOverflow rises",
      '"TCP: time wait bucket table overflow" in the log of an old kernel (2.6)',
    ],
    fix: [
      "Leave the limit where it is, or raise it: 262144 TIME_WAIT sockets cost 67 MB, at 256 bytes each.",
      "Make fewer connections: pools, HTTP keep-alive (in Node: new http.Agent({ keepAlive: true }), the default since Node 19). See time-wait-exhaustion.",
      "Let the other side close first where that is acceptable.",
    ],
    reports: ["RMerl/asuswrt-merlin.ng#136", "engintron/engintron#840"],
  },
  arms: { broken, control, fixed: [reuse], myth: [asCure] },
});
