/**
 * nat-idle-timeout: a router on the path forgets a silent connection. Both ends believe in it, and the next write finds out.
 *
 * A router that translates addresses (NAT), or a stateful firewall, keeps a table of connections. An entry without traffic is
 * removed: after 350 s or 4 minutes at some clouds' balancers, 5 days in plain Linux. Neither end is told. Later segments belong
 * to no connection that the router knows: most drop them in silence, some answer with a RST.
 *
 * WATCH   ESTABLISHED at both ends; packets counted as invalid in the router; then timer:(on,...) and ETIMEDOUT
 * CAVEAT  nf_conntrack_tcp_loose=0, as careful firewalls have it; with 1 Linux adopts connections that it meets in the middle
 * NEEDS   nft with connection tracking, and network namespaces: client, router and server are three hosts
 * SEE     nf_conntrack_proto_tcp.c in net/netfilter; Documentation/networking/nf_conntrack-sysctl.rst; RFC 5382
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { ROUTE, withRoute, type Host, type Route } from "../lab/hosts.ts";
import { countErrno, withSockets, type Line } from "../lab/network.ts";
import type { SocketRecord } from "../sockets/record.ts";

const HELLO = "hello, TCP";
const TIMEOUT_S = 1;
const SILENCE_MS = 1_300;
/** Node counts the delay before a keep-alive probe in whole seconds, so that arm needs a router with more patience. */
const KEEPALIVE_MS = 1_000;
/** Five days: Linux's own. */
const LONG_TIMEOUT_S = 432_000;

type Params = { readonly clients: number };

/** How long the router remembers, and what it does with what it does not know. */
type Router = {
  readonly timeoutS: number;
  /** Does it answer a segment of a connection that it does not know with a RST? */
  readonly resets: boolean;
  /** For how long the clients are silent. */
  readonly silenceMs: number;
};

const FORGETFUL: Router = { timeoutS: TIMEOUT_S, resets: false, silenceMs: SILENCE_MS };
const PATIENT: Router = { timeoutS: 2, resets: false, silenceMs: 2_300 };

/**
 * The router hides the client's address. A segment in the middle of a connection that it does not know is "new" to it while tcp_loose
 * is on, and else "invalid". Only the former is safe to reset: segments outside the window of a healthy connection are invalid, too.
 */
function translate(router: Host, { timeoutS, resets }: Router): void {
  const unknown = "ct state new tcp flags & (syn | rst) == 0 counter reject with tcp reset";
  router.filter("forward", ["ct state invalid counter drop", ...(resets ? [unknown] : [])]);
  router.translate("outside", ["masquerade"]);
  router.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", timeoutS);
  router.sysctl("net.netfilter.nf_conntrack_tcp_loose", resets ? 1 : 0);
}

/** Connections that have been used once and then kept silent for longer than a forgetful router remembers. */
type Silent = Route & {
  readonly port: number;
  readonly lines: readonly Line[];
};

async function afterSilence(
  bench: Bench,
  { clients, kind, prepare }: { clients: number; kind: Router; prepare?: (line: Line) => unknown },
  work: (silent: Silent) => Promise<void>,
): Promise<void> {
  await withRoute(bench, async (route) => {
    translate(route.router, kind);
    const { through } = route.server;
    const { port } = await bench.server(["--host", ROUTE.server], { through });
    await withSockets(async (own) => {
      const lines = await own.dialAll(clients, { host: ROUTE.server, port });
      for (const line of lines) {
        prepare?.(line);
        line.socket.write(HELLO);
      }
      await echoes(bench, lines, 1);
      await bench.pass(kind.silenceMs);
      await work({ ...route, port, lines });
    });
  });
}

/** How many clients have had `times` echoes, in the end. */
function echoes(bench: Bench, lines: readonly Line[], times: number): Promise<number> {
  return bench.until(
    () => lines.filter(({ bytes }) => bytes === times * HELLO.length).length,
    (count) => count === lines.length,
    3_000,
  );
}

function established(host: Host, port: number): number {
  return host
    .sockets()
    .filter(
      ({ state, local, remote }) =>
        state === "ESTABLISHED" && (local.port === port || remote.port === port),
    ).length;
}

function speakAgain(lines: readonly Line[]): void {
  for (const { socket } of lines) socket.write(HELLO);
}

/** The router has forgotten everything when the clients speak again; `more` tells how it ends. */
async function forgotten(
  bench: Bench,
  { clients }: Params,
  prepare: ((line: Line) => unknown) | undefined,
  more: (silent: Silent) => Promise<void>,
): Promise<void> {
  bench.say(
    `${clients} connections through a router that forgets after ${TIMEOUT_S} s; then ${SILENCE_MS} ms of silence.`,
  );
  const believe = bench.predict("ESTABLISHED, clients, after the silence", clients);
  const theirs = bench.predict("ESTABLISHED, server, after the silence", clients);
  const invalid = bench.predict(
    "packets invalid to the router",
    atLeast(clients),
    "one each, and all repetitions",
  );
  const answers = bench.predict("second requests answered", 0);
  const timers = prepare && bench.predict("keep-alive timers, clients", clients);
  const plan = { clients, kind: FORGETFUL, ...(prepare && { prepare }) };
  await afterSilence(bench, plan, async (seen) => {
    const isKeepAlive = ({ timer }: SocketRecord): boolean => timer?.name === "keepalive";
    timers?.measured(seen.client.sockets().filter(isKeepAlive).length);
    believe.measured(established(seen.client, seen.port));
    theirs.measured(established(seen.server, seen.port));
    speakAgain(seen.lines);
    const dropped = (): number => seen.router.packets("forward");
    invalid.measured(await bench.until(dropped, (count) => count >= clients));
    await more(seen);
    answers.measured(seen.lines.filter(({ bytes }) => bytes > HELLO.length).length);
  });
}

/** The same silence does no harm. */
async function answered(
  bench: Bench,
  { clients }: Params,
  { kind, prepare }: { kind: Router; prepare?: (line: Line) => unknown },
): Promise<void> {
  const probes = bench.predict(
    "keep-alive probes (TCPKeepAlive)",
    prepare === undefined ? 0 : atLeast(clients),
  );
  const again = bench.predict("second requests answered", clients);
  const invalid = bench.predict("packets invalid to the router", 0);
  const translated = bench.predict("connections that come from the router's address", clients);
  await afterSilence(bench, { clients, kind, ...(prepare && { prepare }) }, async (seen) => {
    probes.measured(seen.client.counted("TcpExtTCPKeepAlive"));
    speakAgain(seen.lines);
    again.measured(await echoes(bench, seen.lines, 2));
    invalid.measured(seen.router.packets("forward"));
    const isHis = ({ remote }: SocketRecord): boolean => remote.address === ROUTE.outside;
    translated.measured(seen.server.sockets().filter(isHis).length);
  });
}

const broken = {
  about: "silence beyond the router's time-out: both ends are ESTABLISHED, nothing gets through",
  run: async (bench: Bench, params: Params) => {
    const { clients } = params;
    const errno = bench.predict("clients: ETIMEDOUT", clients, "tcp_retries2 is 0, by default 15");
    const aborts = bench.predict("given up (TCPAbortOnTimeout)", clients);
    const left = bench.predict("ESTABLISHED, server, after that", clients, "it knows of nothing");
    await forgotten(bench, params, undefined, async ({ client, server, port, lines }) => {
      bench.sysctl("net.ipv4.tcp_retries2", 0); // Not before: a stall on the way here is no time-out.
      const timedOut = (): number => countErrno(lines, "ETIMEDOUT");
      errno.measured(await bench.until(timedOut, (count) => count === clients));
      aborts.measured(client.counted("TcpExtTCPAbortOnTimeout"));
      left.measured(established(server, port));
    });
  },
};

const control = {
  about: "the same silence through a router that remembers for five days",
  run: (bench: Bench, params: Params) =>
    answered(bench, params, { kind: { ...FORGETFUL, timeoutS: LONG_TIMEOUT_S } }),
};

const keepAlive = {
  about: `keep-alive below the time-out: setKeepAlive(true, ${KEEPALIVE_MS})`,
  run: (bench: Bench, params: Params) =>
    answered(bench, params, {
      kind: PATIENT,
      prepare: ({ socket }) => socket.setKeepAlive(true, KEEPALIVE_MS),
    }),
};

const rejecting = {
  about: "a router that answers with a RST: the same end, but at once, so that a retry can follow",
  run: async (bench: Bench, { clients }: Params) => {
    const errno = bench.predict("clients: ECONNRESET", clients, "with the first write");
    const repeated = bench.predict("given up (TCPAbortOnTimeout)", 0);
    const theirs = bench.predict("RSTs of the server's kernel (TcpOutRsts)", 0, "the router's are");
    const again = bench.predict("new connections answered", clients);
    const kind: Router = { ...FORGETFUL, resets: true };
    await afterSilence(bench, { clients, kind }, async ({ client, server, port, lines }) => {
      speakAgain(lines);
      const reset = (): number => countErrno(lines, "ECONNRESET");
      errno.measured(await bench.until(reset, (count) => count === clients));
      repeated.measured(client.counted("TcpExtTCPAbortOnTimeout"));
      theirs.measured(server.counted("TcpOutRsts"));
      await withSockets(async (own) => {
        const fresh = await own.dialAll(clients, { host: ROUTE.server, port });
        speakAgain(fresh);
        again.measured(await echoes(bench, fresh, 1));
      });
    });
  },
};

const defaultKeepAlive = {
  about: "keep-alive without a delay: the first probe comes after tcp_keepalive_time, two hours",
  run: async (bench: Bench, params: Params) => {
    const probes = bench.predict("keep-alive probes (TCPKeepAlive)", 0);
    const keep = ({ socket }: Line): unknown => socket.setKeepAlive(true);
    await forgotten(bench, params, keep, ({ client }) => {
      probes.measured(client.counted("TcpExtTCPKeepAlive"));
      return Promise.resolve();
    });
  },
};

export default defineLab({
  name: "nat-idle-timeout",
  summary: "a router forgets a silent connection; both ends believe in it",
  tags: ["peers"],
  params: { clients: [7, "connections through the router"] },
  story: {
    see: "Both ends show ESTABLISHED. A write after a silence succeeds, nothing comes back, and much later the program gets ETIMEDOUT.",
    why:
      "TCP needs no packets to stay connected; whoever translates addresses does. NAT gateways, firewalls and load balancers keep an entry for each " +
      "connection and remove it when it was silent for too long: 350 s (AWS), 4 min (Azure) or 10 min (Google). " +
      "The ends are not told then. Many drop the next segment in silence, as Azure's load balancer does by default; AWS's NAT gateway and network load balancer answer it with a RST, " +
      "and the writer knows at once. In silence it repeats the segment until tcp_retries2 is used up, a quarter of an hour by default; an end that only reads waits for ever. Pools of database connections meet this every morning.",
    recognise: [
      [
        "ss -tino state established dst HOST",
        "no keepalive timer; after a write timer:(on,...) with backoff",
      ],
      ["conntrack -L -p tcp; conntrack -S", "on the router: no entry any more; invalid grows"],
      [
        "sysctl net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_loose",
        "the router's memory, if it is Linux",
      ],
      [
        "nstat -az TcpExtTCPAbortOnTimeout TcpExtTCPKeepAlive",
        "who was given up, and whether anybody probes at all",
      ],
    ],
    symptoms: [
      "ETIMEDOUT from read() or write() on an old connection",
      "the first request after a pause hangs, the next one on a new connection works",
      "ESTABLISHED at both ends, no data",
      "invalid packets in conntrack -S",
    ],
    fix: [
      "Keep-alive well below the shortest time-out on the path: socket.setKeepAlive(true, 60_000). In Node the delay counts: without it the kernel waits for two hours.",
      "Heartbeats of the protocol itself (HTTP/2 PING, WebSocket ping, MQTT keep-alive) find a dead peer, too.",
      "Pools: a greatest idle time below that of the router, and a test before use; deadlines for requests; TCP_USER_TIMEOUT.",
      "On the router: a longer time-out, or a RST for what it does not know (nft: ct state new tcp flags & (syn | rst) == 0 reject with tcp reset, while nf_conntrack_tcp_loose is 1). " +
        "Never for all that is invalid: that resets healthy connections as well, for a segment outside the window.",
    ],
    needs: [
      "nft (package nftables), and a kernel with connection tracking and masquerading",
      "ip (package iproute2), and network namespaces inside the sandbox: client, router and server are three hosts",
    ],
    reports: [
      "encode/httpx#2975",
      "reactor/reactor-netty#764",
      "istio/istio#36499",
      "openai/openai-python#3270",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [keepAlive, rejecting],
    myth: [defaultKeepAlive],
  },
});
