/**
 * snat-exhaustion: a router that translates addresses has no port left for one destination. SYNs vanish in it, and connect() times out.
 *
 * Behind a NAT all connections share the router's outside address. Towards one destination (address and port) each of its ports
 * serves once; when all are taken the next SYN is dropped. Client and server are idle and have ports in plenty.
 *
 * WATCH   SYN_SENT at the client; SYNs that enter the router and do not leave it; insert_failed of `conntrack -S`
 * CAVEAT  up to 128 ports Linux tries each of them; of a larger range it tries 128, 64, 32, 16 and 8 at random places
 * NEEDS   nft with connection tracking, and network namespaces: client, router and server are three hosts
 * SEE     nf_nat_l4proto_unique_tuple() and find_best_ips_proto() in net/netfilter/nf_nat_core.c; RFC 4787, RFC 5382
 */
import { readFileSync } from "node:fs";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { ROUTE, withRoute, type Host, type Route } from "../lab/hosts.ts";
import { countErrno, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const FIRST_PORT = 40_000;
/** A second and a third address of the router, next to each other. */
const POOL = ["10.77.2.10", "10.77.2.11"] as const;
const SYN = "tcp flags & (syn | ack) == syn counter";
const REQUEST = "hello, TCP";

type Params = { readonly ports: number };

/** What an arm has: the three hosts, sockets at the client, and where the servers listen. */
type Scene = Route & { readonly own: OwnSockets; readonly destinations: readonly number[] };

/** The ports that the router may use, as nft spells them. */
function range(ports: number): string {
  return `:${FIRST_PORT}-${FIRST_PORT + ports - 1}`;
}

/** One address: the router's own. */
function oneAddress({ ports }: Params): readonly string[] {
  return [`ip protocol tcp masquerade to ${range(ports)}`];
}

/** Lets the router translate by `rules`, counts SYNs on both sides of it, and starts the servers. */
async function behindNat(
  bench: Bench,
  { rules, servers = 1 }: { readonly rules: readonly string[]; readonly servers?: number },
  work: (scene: Scene) => Promise<void>,
): Promise<void> {
  await withRoute(bench, async (route) => {
    const { router, server } = route;
    for (const address of POOL)
      router.command("ip", ["address", "add", `${address}/24`, "dev", "outside"]);
    router.translate("outside", rules);
    router.filter("forward", [SYN]);
    server.filter("input", [SYN]);
    const destinations: number[] = [];
    while (destinations.length < servers) {
      const { port } = await bench.server(["--host", ROUTE.server], { through: server.through });
      destinations.push(port);
    }
    await withSockets((own) => work({ ...route, own, destinations }));
  });
}

/** Connects one after the other, to the destinations in turn: all of these are to succeed. */
async function connectAll({ own, destinations }: Scene, count: number): Promise<readonly Line[]> {
  const lines: Line[] = [];
  while (lines.length < count) {
    const port = destinations[lines.length % destinations.length] ?? 0;
    lines.push(await own.dial({ host: ROUTE.server, port }));
  }
  return lines;
}

/** Connects all at once: none of these is to succeed. */
function connectMore({ own, destinations }: Scene, count: number): Promise<readonly Line[]> {
  const port = destinations[0] ?? 0;
  const attempt = (): Promise<Line> => own.dial({ host: ROUTE.server, port });
  return Promise.all(Array.from({ length: count }, attempt));
}

/** How often the router had no port to give, one row for each processor, in hexadecimal; undefined on kernels that do not show it. */
function insertFailed(router: Host): number | undefined {
  try {
    const text = readFileSync(`/proc/${router.pid}/net/stat/nf_conntrack`, "latin1");
    const [names = [], ...rows] = text
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
    const column = names.indexOf("insert_failed");
    return rows.reduce((sum, row) => sum + parseInt(row[column] ?? "", 16), 0);
  } catch {
    return undefined;
  }
}

/** The second half of the connections waits, and a repeated SYN does not help. Returns what is still waiting then. */
async function halfWaits(
  bench: Bench,
  scene: Scene,
  { ports }: Params,
): Promise<{ readonly waiting: Promise<readonly Line[]> }> {
  const { client, server } = scene;
  const connected = bench.predict("connections that succeed", ports, "one for each port");
  const addresses = bench.predict("addresses that the server sees", 1);
  const synSent = bench.predict("SYN_SENT after a repetition, client", ports);
  const used = bench.predict("local ports in use, client", 2 * ports, "it has 28,232 by default");
  const arrived = bench.predict("SYNs that reached the server", ports, "it knows of no others");
  connected.measured(countErrno(await connectAll(scene, ports), "none"));
  addresses.measured(clientsSeen(server));
  const waiting = connectMore(scene, ports);
  const repeated = (): number => client.counted("TcpExtTCPSynRetrans");
  await bench.until(repeated, (count) => count >= ports);
  const sockets = client.sockets();
  synSent.measured(sockets.filter(({ state }) => state === "SYN_SENT").length);
  used.measured(new Set(sockets.map(({ local }) => local.port)).size);
  arrived.measured(server.packets("input"));
  return { waiting };
}

/** From how many addresses the server has connections. */
function clientsSeen(server: Host): number {
  const open = server.sockets().filter(({ state }) => state === "ESTABLISHED");
  return new Set(open.map(({ remote }) => remote.address)).size;
}

/** Twice as many connections as there are ports, and nobody waits. */
async function allConnect(
  bench: Bench,
  { ports }: Params,
  plan: { readonly rules: readonly string[]; readonly servers?: number; readonly seen: number },
): Promise<void> {
  const connected = bench.predict("connections that succeed", 2 * ports);
  const addresses = bench.predict("addresses that the server sees", plan.seen);
  const repeated = bench.predict("SYNs repeated (TCPSynRetrans)", 0);
  await behindNat(bench, plan, async (scene) => {
    connected.measured(countErrno(await connectAll(scene, 2 * ports), "none"));
    addresses.measured(clientsSeen(scene.server));
    repeated.measured(scene.client.counted("TcpExtTCPSynRetrans"));
  });
}

/** As many connections as the router has ports, and `times` requests on each. */
async function withinPorts(bench: Bench, params: Params, times: number): Promise<void> {
  const { ports } = params;
  const connected = bench.predict("connections that succeed", ports);
  const answered = bench.predict("requests answered", times * ports);
  const arrived = bench.predict("SYNs that reached the server", ports);
  const repeated = bench.predict("SYNs repeated (TCPSynRetrans)", 0);
  await behindNat(bench, { rules: oneAddress(params) }, async (scene) => {
    const lines = await connectAll(scene, ports);
    connected.measured(countErrno(lines, "none"));
    for (let turn = 1; turn <= times; turn += 1) {
      for (const { socket } of lines) socket.write(REQUEST);
      await bench.until(
        () => answers(lines),
        (count) => count === turn * ports,
      );
    }
    answered.measured(answers(lines));
    arrived.measured(scene.server.packets("input"));
    repeated.measured(scene.client.counted("TcpExtTCPSynRetrans"));
  });
}

function answers(lines: readonly Line[]): number {
  return lines.reduce((sum, { bytes }) => sum + bytes / REQUEST.length, 0);
}

const broken = {
  about: "more connections to one destination than the router has ports",
  run: async (bench: Bench, params: Params) => {
    const { ports } = params;
    bench.say(
      `The router has ${ports} ports for its outside address. The client asks for ${2 * ports} connections to one server.`,
    );
    bench.sysctl("net.ipv4.tcp_syn_retries", 1);
    bench.sysctlIfPresent("net.ipv4.tcp_rto_max_ms", 1_000);
    await behindNat(bench, { rules: oneAddress(params) }, async (scene) => {
      const { router } = scene;
      const failed = bench.predict("ETIMEDOUT from connect()", ports);
      const entered = bench.predict("SYNs that entered the router", atLeast(3 * ports));
      const noPort = "no port to give (insert_failed), router";
      const isCounted = insertFailed(router) !== undefined;
      const clashes = isCounted ? bench.predict(noPort, atLeast(2 * ports)) : undefined;
      const { waiting } = await halfWaits(bench, scene, params);
      failed.measured(countErrno(await waiting, "ETIMEDOUT"));
      entered.measured(router.packets("forward"));
      clashes?.measured(insertFailed(router) ?? NaN);
    });
  },
};

const control = {
  about: "as many connections as the router has ports",
  run: (bench: Bench, params: Params) => withinPorts(bench, params, 1),
};

const reuse = {
  about: "connections that are kept and used again: two requests on each",
  run: (bench: Bench, params: Params) => withinPorts(bench, params, 2),
};

const moreDestinations = {
  about:
    "a second destination, another port of the server: each of the router's ports serves again",
  run: (bench: Bench, params: Params) =>
    allConnect(bench, params, { rules: oneAddress(params), servers: 2, seen: 1 }),
};

const inTurn = {
  about: "a second address of the router, and connections that get one or the other in turn",
  run: (bench: Bench, params: Params) => {
    const [first, second] = POOL.map((address) => `snat to ${address}${range(params.ports)}`);
    const rules = [`ip protocol tcp numgen inc mod 2 0 ${first}`, `ip protocol tcp ${second}`];
    return allConnect(bench, params, { rules, seen: 2 });
  },
};

/** As broken as before. */
function stillHalf(bench: Bench, params: Params, rules: readonly string[]): Promise<void> {
  return behindNat(bench, { rules }, async (scene) => {
    await halfWaits(bench, scene, params);
  });
}

const clientsPorts = {
  about: "more ports and tcp_tw_reuse=1 at the client, which is not the one that has run out",
  run: (bench: Bench, params: Params) => {
    bench.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    bench.sysctl("net.ipv4.tcp_tw_reuse", 1);
    return stillHalf(bench, params, oneAddress(params));
  },
};

const pool = {
  about: "a second address of the router in one pool: Linux picks by the two ends' addresses",
  run: (bench: Bench, params: Params) => {
    const rules = [`ip protocol tcp snat to ${POOL.join("-")}${range(params.ports)}`];
    return stillHalf(bench, params, rules);
  },
};

export default defineLab({
  name: "snat-exhaustion",
  summary: "a NAT runs out of ports for one destination: SYNs vanish, connect() times out",
  tags: ["ports", "peers"],
  // Of a larger range Linux does not try every port: when it gives up is chance.
  params: { ports: [23, "ports that the router may use", [1, 128]] },
  story: {
    see: "The first connections succeed, one for each port of the router. Every further connect() to that server hangs and ends with ETIMEDOUT; the server never sees it.",
    why:
      "A NAT replaces the address and port of each connection by its own, and needs them back to tell replies apart: towards one destination (address and port) a port of one outside address serves once. " +
      "That is the limit of an ordinary client, at most 64,512 ports, but shared by everybody behind the router; and cloud gateways give less: 55,000 for each destination (AWS), 64 for each machine by default (Google's Cloud NAT). " +
      "A client that is out of ports of its own is told at once, EADDRNOTAVAIL. Here nobody is told: the router drops the SYN, and that looks like a dead server or a firewall. " +
      "Closed connections count for a while, too: a NAT keeps its entry through TIME_WAIT, 120 s in Linux (newer kernels take it back early when nothing else is left).",
    recognise: [
      [
        "ss -tanpo state syn-sent dst HOST",
        "connects to one destination that get no answer; others are fine",
      ],
      ["conntrack -S", "on the router, if it is Linux: insert_failed and drop grow"],
      [
        "conntrack -L -p tcp -d HOST --dport PORT | wc -l",
        "on the router: entries for that destination; near the number of ports it is full",
      ],
      [
        "nstat -az TcpExtTCPSynRetrans TcpExtTCPAbortOnTimeout",
        "at the client: SYNs repeated, connects given up",
      ],
    ],
    symptoms: [
      "ETIMEDOUT from connect()",
      "many SYN_SENT on the client's side",
      "TcpExtTCPSynRetrans rises",
      "insert_failed in conntrack -S",
      "ErrorPortAllocation, OUT_OF_RESOURCES or 'SNAT port exhaustion' from a cloud's NAT",
    ],
    fix: [
      "Fewer connections: a pool, keep-alive, HTTP/2. One connection that is kept needs one port, however many requests it carries.",
      "No NAT on the way: a private endpoint, a route, IPv6.",
      "More destinations: several addresses or ports of the same service each get all ports again.",
      "More outside addresses, and a look at how the NAT chooses among them: Linux keeps one client's connections to one server on one address. `numgen` in nft spreads them.",
    ],
    needs: [
      "nft (package nftables), and a kernel with connection tracking and masquerading",
      "ip (package iproute2), and network namespaces inside the sandbox: client, router and server are three hosts",
    ],
    reports: [
      "microsoft/azure-container-apps#517",
      "dotnet/runtime#35508",
      "actions/runner-images#5850",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [reuse, moreDestinations, inTurn],
    myth: [clientsPorts, pool],
  },
});
