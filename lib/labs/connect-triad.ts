/**
 * connect-triad: refused, swallowed, rejected. Three reasons why connect() fails, told apart by errno and by time.
 *
 * Nobody listens: the other kernel answers with a RST, ECONNREFUSED at once. A firewall rejects: an ICMP error (EHOSTUNREACH)
 * or a RST (ECONNREFUSED, as if nobody listened), at once too. A firewall drops, or a host beyond a silent router is gone: no answer
 * at all; the kernel repeats its SYN and gives up with ETIMEDOUT after more than two minutes by default. A host that is gone from our own
 * link costs three seconds: nobody answers the question for its hardware address (ARP), and our own kernel says EHOSTUNREACH.
 *
 * WATCH   SYN_SENT for as long as it lasts; TCPSynRetrans
 * CAVEAT  times are made small here: tcp_syn_retries=1 (default 6) and, where the kernel has it, tcp_rto_max_ms=1000
 * NEEDS   nft, for the packets that are dropped or rejected
 * SEE     tcp_write_timeout() in net/ipv4/tcp_timer.c, tcp_v4_err() in net/ipv4/tcp_ipv4.c; connect(2), tcp(7)
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import { countErrno, rows, settled, withSockets, type Line } from "../lab/network.ts";
import type { OwnSockets } from "../lab/network.ts";

const CLOSED_PORT = 9101;
const DROPPED_PORT = 9102;
const REJECTED_PORT = 9103;
const RESET_PORT = 9104;

const SYN_RETRY_MS = 1_000;
const GIVE_UP_MS = 300;

const DROP = `tcp dport ${DROPPED_PORT} drop`;
const REJECT = `tcp dport ${REJECTED_PORT} reject with icmp type host-unreachable`;
const RESET = `tcp dport ${RESET_PORT} reject with tcp reset`;

type Params = { readonly clients: number };

/** The world made small: two seconds or three instead of more than two minutes. */
function shortRetries(bench: Bench): void {
  bench.sysctl("net.ipv4.tcp_syn_retries", 1);
  bench.sysctlIfPresent("net.ipv4.tcp_rto_max_ms", 1_000);
}

/** Connects of many clients at once, under way. */
function crowd(own: OwnSockets, clients: number, port: number): Promise<Line[]> {
  return Promise.all(Array.from({ length: clients }, () => own.dial({ port })));
}

/** How many had their answer before the kernel would have repeated its SYN. */
function atOnce(lines: readonly Line[]): number {
  return lines.filter(({ connectMs }) => connectMs < SYN_RETRY_MS).length;
}

const broken = {
  about: "nobody listens, packets are dropped, packets are rejected: one symptom, three causes",
  run: async (bench: Bench, { clients }: Params) => {
    thisHost(bench).filter("input", [DROP, REJECT]);
    shortRetries(bench);
    bench.say(
      `${clients} clients each. tcp_syn_retries is 1 here; with its default, 6, a black hole costs over two minutes.`,
    );
    const refused = bench.predict("nobody listens: ECONNREFUSED", clients);
    const rejected = bench.predict("rejected by ICMP: EHOSTUNREACH", clients);
    const fast = bench.predict("answers before the SYN is repeated", 2 * clients, "both of these");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", clients, "for the closed port");
    const waiting = bench.predict("black hole: SYN_SENT meanwhile", clients);
    const dropped = bench.predict("black hole: ETIMEDOUT", clients);
    const slowest = bench.predict(
      "the first one after (ms)",
      between(1_900, 6_000),
      "1 s, then 1 s or 2 s more: kernels differ",
    );
    const retries = bench.predict(
      "SYNs repeated (TCPSynRetrans)",
      atLeast(clients),
      "at least one each",
    );
    const aborts = bench.predict("given up (TCPAbortOnTimeout)", clients);
    await withSockets(async (own) => {
      const swallowed = crowd(own, clients, DROPPED_PORT);
      const answered = [
        await crowd(own, clients, CLOSED_PORT),
        await crowd(own, clients, REJECTED_PORT),
      ] as const;
      refused.measured(countErrno(answered[0], "ECONNREFUSED"));
      rejected.measured(countErrno(answered[1], "EHOSTUNREACH"));
      fast.measured(atOnce(answered.flat()));
      resets.measured(bench.counted("TcpOutRsts"));
      waiting.measured(rows(bench, "client", "SYN_SENT", DROPPED_PORT).length);
      const lines = await swallowed;
      dropped.measured(countErrno(lines, "ETIMEDOUT"));
      slowest.measured(Math.round(Math.min(...lines.map(({ connectMs }) => connectMs))));
      retries.measured(bench.counted("TcpExtTCPSynRetrans"));
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    });
  },
};

const control = {
  about: "the same rules, and a port that they do not touch, where somebody listens",
  run: async (bench: Bench, { clients }: Params) => {
    thisHost(bench).filter("input", [DROP, REJECT]);
    await withSockets(async (own) => {
      const { port } = await own.listen();
      const connected = bench.predict("clients that connect", clients);
      const retries = bench.predict("SYNs repeated (TCPSynRetrans)", 0);
      const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients);
      const dropped = bench.predict("SYN_SENT, to a port that they drop", 1, "they are in force");
      connected.measured(countErrno(await crowd(own, clients, port), "none"));
      retries.measured(bench.counted("TcpExtTCPSynRetrans"));
      handshakes.measured(await bench.countedUpTo("TcpPassiveOpens", clients));
      void own.dial({ port: DROPPED_PORT });
      dropped.measured(await settled(bench, 1, ["client", "SYN_SENT", DROPPED_PORT]));
    });
  },
};

/** Clients in front of a black hole, each with something to do after a while without an answer. */
async function lookAfterAWhile(
  bench: Bench,
  own: OwnSockets,
  { clients, onTimeout }: { clients: number; onTimeout: (line: Line) => void },
): Promise<number> {
  thisHost(bench).filter("input", [DROP]);
  const port = DROPPED_PORT;
  let timeouts = 0;
  for (let client = 0; client < clients; client += 1)
    void own.dial({
      port,
      timeout: GIVE_UP_MS,
      onLine: (line) =>
        line.socket.on("timeout", () => {
          timeouts += 1;
          onTimeout(line);
        }),
    });
  return bench.until(
    () => timeouts,
    (count) => count === clients,
  );
}

const ownTimeout = {
  about: "a connect timeout of our own: the timeout event destroys the socket",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const given = bench.predict("clients that gave up", clients, `after ${GIVE_UP_MS} ms`);
      const waiting = bench.predict("SYN_SENT afterwards", 0);
      const aborts = bench.predict("given up by the kernel", 0, "TCPAbortOnTimeout");
      const destroy = ({ socket }: Line): unknown => socket.destroy();
      given.measured(await lookAfterAWhile(bench, own, { clients, onTimeout: destroy }));
      waiting.measured(await settled(bench, 0, ["client", "SYN_SENT", DROPPED_PORT]));
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    });
  },
};

const rejectInstead = {
  about: "the firewall rejects with a RST instead of dropping: ECONNREFUSED at once",
  run: async (bench: Bench, { clients }: Params) => {
    thisHost(bench).filter("input", [RESET]);
    await withSockets(async (own) => {
      const refused = bench.predict("rejected by RST: ECONNREFUSED", clients, "as a closed port");
      const fast = bench.predict("answers before the SYN is repeated", clients);
      const retries = bench.predict("SYNs repeated (TCPSynRetrans)", 0);
      const ours = bench.predict("RSTs by the TCP stack (TcpOutRsts)", 0, "the filter makes them");
      const lines = await crowd(own, clients, RESET_PORT);
      refused.measured(countErrno(lines, "ECONNREFUSED"));
      fast.measured(atOnce(lines));
      retries.measured(bench.counted("TcpExtTCPSynRetrans"));
      ours.measured(bench.counted("TcpOutRsts"));
    });
  },
};

const timeoutAlone = {
  about: "socket.setTimeout() alone: it emits an event, and ends nothing",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const told = bench.predict("'timeout' events", clients, `after ${GIVE_UP_MS} ms`);
      const waiting = bench.predict("SYN_SENT afterwards", clients, "nobody destroyed them");
      const onTimeout = (): undefined => undefined;
      told.measured(await lookAfterAWhile(bench, own, { clients, onTimeout }));
      waiting.measured(rows(bench, "client", "SYN_SENT", DROPPED_PORT).length);
    });
  },
};

export default defineLab({
  name: "connect-triad",
  summary: "refused, dropped, rejected: three causes of a failed connect, told apart",
  tags: ["handshakes"],
  // More of them are not all answered within the second that a SYN waits for its repetition.
  params: { clients: [23, "clients for each cause", [1, 200]] },
  story: {
    see: "A closed port and a rejecting firewall answer at once, with ECONNREFUSED or EHOSTUNREACH; a dropping one lets connect() wait.",
    why:
      "A closed port is an answer: the other kernel sends a RST. A firewall that rejects sends an ICMP error (EHOSTUNREACH), or what cannot be told from " +
      "a closed port: a RST, or ICMP 'port unreachable', which nft and iptables send when they are told no other (ECONNREFUSED). One that drops sends nothing, as a dead host far away may: the kernel repeats the SYN, " +
      "and connect() fails with ETIMEDOUT only after over two minutes by default: tcp_syn_retries=6 stands for the time of six doublings of one second. (Until Linux 6.5 it was six repetitions, too; now the first ones come every second, and there are ten.) Meanwhile every attempt holds a descriptor and a port. " +
      "For a dead host on the same link our own kernel answers: its ARP finds nobody, and after about three seconds that is EHOSTUNREACH, too.",
    recognise: [
      ["ss -tanpo state syn-sent", "connects that got no answer, with timer and number of retries"],
      [
        "nstat -az TcpExtTCPSynRetrans TcpExtTCPAbortOnTimeout TcpAttemptFails",
        "SYNs repeated; attempts given up; attempts given up or refused",
      ],
      [
        "tcpdump -ni any 'tcp port PORT or icmp'",
        "RST, ICMP, or silence: which of the three it is",
      ],
      ["nft list ruleset; iptables -L -nv", "rules that drop or reject, with counters"],
    ],
    symptoms: [
      "ECONNREFUSED from connect()",
      "ETIMEDOUT from connect()",
      '"upstream timed out (110: Connection timed out) while connecting to upstream" in nginx\'s log',
      '"dial tcp ...: i/o timeout" in a log (Go)',
      "EHOSTUNREACH from connect()",
      "many SYN_SENT on the client's side",
      "TcpExtTCPSynRetrans rises",
      "TcpAttemptFails rises",
    ],
    fix: [
      "A connect timeout of your own, well below two minutes: in Node setTimeout(ms), destroy() on 'timeout', and setTimeout(0) on 'connect', for otherwise it goes on as a limit on silence. " +
        "Not with signal: AbortSignal.timeout(): net.connect() keeps it, and destroys the socket when the time is over, connected or not.",
      "ECONNREFUSED: the service is down, or on another port or address, or a firewall rejects. Retry with back-off.",
      "EHOSTUNREACH, ETIMEDOUT: a host that is down, routes, security groups, firewalls. Retrying at once does not help.",
      "In your own firewall reject rather than drop inside your network: errors become fast and readable.",
    ],
    needs: ["nft (package nftables), to drop and to reject packets"],
    reports: ["chaos-mesh/chaos-mesh#5067", "Shopify/toxiproxy#410"],
  },
  arms: { broken, control, fixed: [ownTimeout, rejectInstead], myth: [timeoutAlone] },
});
