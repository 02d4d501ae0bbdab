/**
 * half-open-peer: the peer is gone and no packet said so. Whoever only waits, waits for ever.
 *
 * A connection is state on two machines, and nothing on the wire. When a peer loses power, or a router in between forgets
 * the connection, no FIN and no RST arrives. The kernel notices only when it sends something and nobody acknowledges it: data,
 * after tcp_retries2 repetitions (15 by default, about 15 minutes), or keep-alive probes, if they were asked for.
 *
 * WATCH   ESTABLISHED without any timer; after a write timer:(on,...), then ETIMEDOUT and TCPAbortOnTimeout
 * CAVEAT  setKeepAlive(true, ms): libuv sets the interval (1 s) and the number (10) of the probes as well, so no sysctl counts;
 *         without ms it sets none of the three, and all of them are those of sysctl
 * NEEDS   nft, to lose the packets of both directions
 * SEE     tcp_write_timeout() and tcp_keepalive_timer() in net/ipv4/tcp_timer.c; uv__tcp_keepalive() in libuv's src/unix/tcp.c
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import {
  countErrno,
  rows,
  settled,
  withSockets,
  type Line,
  type Listening,
  type OwnSockets,
} from "../lab/network.ts";
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import { openConnection } from "../protocol/json/connect.ts";
import { createJsonServer } from "../protocol/json/server.ts";

const WAIT_MS = 1_000;
const BEAT_MS = 300;
const PROBE_DELAY_S = 1;

type Params = { readonly clients: number };

type Scene = { readonly server: Listening; readonly lines: readonly Line[] };

async function connected(own: OwnSockets, clients: number): Promise<Scene> {
  const server = await own.listen();
  const lines = await own.dialAll(clients, { port: server.port });
  return { server, lines };
}

/** From now on nothing arrives, in neither direction; then the server's program closes. */
function losePeer(bench: Bench, { server }: Scene): void {
  thisHost(bench).filter("input", [
    `tcp dport ${server.port} drop`,
    `tcp sport ${server.port} drop`,
  ]);
  for (const { socket } of server.lines) socket.destroy();
}

/** How many have been told anything: an end, or an error. */
function told(lines: readonly Line[]): number {
  return lines.filter(({ hasEnded, errno }) => hasEnded || errno !== "none").length;
}

const broken = {
  about: "the peer closes and its FIN is lost: clients that only read wait for ever",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(
      `${clients} clients wait for data. All packets are lost from now on; the server closes.`,
    );
    await withSockets(async (own) => {
      const theirs = bench.predict("FIN_WAIT1, server's side", clients, "its FIN finds nobody");
      const ours = bench.predict("ESTABLISHED, client's side", clients);
      const timers = bench.predict("timers on these", 0, "nothing was sent, nothing is awaited");
      const heard = bench.predict(`clients told within ${WAIT_MS} ms`, 0);
      const repeated = bench.predict(
        "segments repeated (TcpRetransSegs)",
        atLeast(clients),
        "the FIN",
      );
      const scene = await connected(own, clients);
      losePeer(bench, scene);
      await bench.pass(WAIT_MS);
      theirs.measured(rows(bench, "server", "FIN_WAIT1", scene.server.port).length);
      const waiting = rows(bench, "client", "ESTABLISHED", scene.server.port);
      ours.measured(waiting.length);
      timers.measured(waiting.filter(({ timer }) => timer !== undefined).length);
      heard.measured(told(scene.lines));
      repeated.measured(bench.counted("TcpRetransSegs"));
    });
  },
};

const control = {
  about: "the same close, and the packets arrive: every client is told",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const heard = bench.predict("clients that are told: 'end'", clients);
      const ours = bench.predict("ESTABLISHED, client's side", 0);
      const repeated = bench.predict("segments repeated (TcpRetransSegs)", 0);
      const { server, lines } = await connected(own, clients);
      for (const { socket } of server.lines) socket.destroy();
      await bench.until(
        () => lines.every(({ isClosed }) => isClosed),
        (all) => all,
      );
      heard.measured(lines.filter(({ hasEnded }) => hasEnded).length);
      ours.measured(await settled(bench, 0, ["client", "ESTABLISHED", server.port]));
      repeated.measured(bench.counted("TcpRetransSegs"));
    });
  },
};

const heartbeat = {
  about: "heartbeats in the protocol: who hears nothing asks, and who gets no answer gives up",
  run: async (bench: Bench, { clients }: Params) => {
    const early = bench.predict("given up while the server is there", 0);
    const asked = bench.predict("pings that the server answered", atLeast(clients));
    const gone = bench.predict(
      "clients that gave up: PEER_SILENT",
      clients,
      `${2 * BEAT_MS} ms of silence`,
    );
    const ours = bench.predict("ESTABLISHED, client's side", 0);
    const server = createJsonServer({ heartbeatMs: 0 });
    const { port } = await server.listen({ port: 0 });
    const dial = (): Promise<ClientConnection> =>
      openConnection({ port, heartbeatMs: BEAT_MS, heartbeatTimeoutMs: BEAT_MS });
    const lines = await Promise.all(Array.from({ length: clients }, dial));
    const errors: string[] = [];
    for (const line of lines)
      line.on("close", (error) => errors.push((error as NodeJS.ErrnoException).code ?? "none"));
    await bench.until(
      () => server.tally.messages,
      (pings) => pings >= clients,
    );
    early.measured(errors.length);
    asked.measured(server.tally.messages);
    thisHost(bench).filter("input", [`tcp dport ${port} drop`, `tcp sport ${port} drop`]);
    await server.close({ drainMs: 0 });
    await bench.until(
      () => errors.length,
      (count) => count === clients,
    );
    gone.measured(errors.filter((code) => code === "PEER_SILENT").length);
    ours.measured(await settled(bench, 0, ["client", "ESTABLISHED", port]));
  },
};

const retries = {
  about: "a write, and tcp_retries2=1: the kernel gives up after a second instead of 15 minutes",
  run: async (bench: Bench, { clients }: Params) => {
    bench.sysctl("net.ipv4.tcp_retries2", 1);
    await withSockets(async (own) => {
      const accepted = bench.predict("write() callbacks without an error", clients, "as always");
      const ended = bench.predict("clients that see ETIMEDOUT", clients);
      const after = bench.predict(
        "the first one after (ms)",
        between(200, 6_000),
        "a retransmission timeout or two, from 200 ms on",
      );
      const aborts = bench.predict("given up (TCPAbortOnTimeout)", atLeast(clients), "servers too");
      const scene = await connected(own, clients);
      losePeer(bench, scene);
      const startMs = performance.now();
      const writes = scene.lines.map(
        ({ socket }) =>
          new Promise<boolean>((resolve) =>
            socket.write("ping", (error) => resolve(error == null)),
          ),
      );
      accepted.measured((await Promise.all(writes)).filter((isFine) => isFine).length);
      const timedOut = (): number => countErrno(scene.lines, "ETIMEDOUT");
      await bench.until(timedOut, (count) => count > 0);
      after.measured(Math.round(performance.now() - startMs));
      ended.measured(await bench.until(timedOut, (count) => count === clients));
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    });
  },
};

const keepAliveSysctls = {
  about: "tcp_keepalive_probes=1: libuv asks for 10 probes, whatever the sysctl says",
  run: async (bench: Bench, { clients }: Params) => {
    for (const name of ["time", "intvl", "probes"])
      bench.sysctl(`net.ipv4.tcp_keepalive_${name}`, 1);
    await withSockets(async (own) => {
      const probes = bench.predict(
        "probes sent (TcpExtTCPKeepAlive)",
        atLeast(2 * clients),
        "one would have been enough to end it",
      );
      const timers = bench.predict("keep-alive timers that still run", clients);
      const heard = bench.predict("clients that are told", 0, "it ends after 1 s + 10 x 1 s");
      const bare = bench.predict(
        "one more, setKeepAlive(true) without ms",
        "ETIMEDOUT",
        "1 s + 1 s",
      );
      const scene = await connected(own, clients);
      const another = await own.dial({ port: scene.server.port });
      another.socket.setKeepAlive(true);
      for (const { socket } of scene.lines) socket.setKeepAlive(true, PROBE_DELAY_S * 1_000);
      losePeer(bench, scene);
      probes.measured(await bench.countedUpTo("TcpExtTCPKeepAlive", 2 * clients));
      const outcome = (): string => another.errno;
      bare.measured(await bench.until(outcome, (errno) => errno !== "none"));
      const waiting = rows(bench, "client", "ESTABLISHED", scene.server.port);
      timers.measured(waiting.filter(({ timer }) => timer?.name === "keepalive").length);
      heard.measured(told(scene.lines));
    });
  },
};

const keepAliveWithData = {
  about: "keep-alive for those who have written: no probe is sent while data is unacknowledged",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const probes = bench.predict("probes sent (TcpExtTCPKeepAlive)", 0, "two each, if idle");
      const ready = bench.predict("keep-alive timers before they write", clients);
      const timers = bench.predict("timers that repeat data", clients, "timer:(on,...) in ss");
      const heard = bench.predict("clients that are told", 0, "tcp_retries2: 15 minutes");
      const scene = await connected(own, clients);
      const { port } = scene.server;
      const timed = (name: string): number =>
        rows(bench, "client", "ESTABLISHED", port).filter((row) => row.timer?.name === name).length;
      for (const { socket } of scene.lines) socket.setKeepAlive(true, PROBE_DELAY_S * 1_000);
      ready.measured(timed("keepalive"));
      losePeer(bench, scene);
      for (const { socket } of scene.lines) socket.write("ping");
      await bench.pass(2.5 * PROBE_DELAY_S * 1_000);
      probes.measured(bench.counted("TcpExtTCPKeepAlive"));
      timers.measured(timed("on"));
      heard.measured(told(scene.lines));
    });
  },
};

export default defineLab({
  name: "half-open-peer",
  summary: "a peer that vanished without a FIN: whoever only reads waits for ever",
  tags: ["peers"],
  // More of them do not all get their turn between two heartbeats.
  params: { clients: [23, "connections", [1, 200]] },
  story: {
    see: "The server is gone, and every client is still in ESTABLISHED: no timer, no event, no error.",
    why:
      "TCP has no heartbeat of its own. Without data under way the kernel expects nothing, so nothing can be overdue. With data under " +
      "way it repeats the segment with growing pauses and gives up after tcp_retries2 of them, 15 minutes by default; until then write() goes on " +
      "succeeding into the send queue. Keep-alive sends probes, by default only after two hours. In Node setKeepAlive(true, ms) " +
      "sets the delay; ten probes, a second apart, follow. Without ms the two hours stay. And no probe is sent while data is unacknowledged: " +
      "whoever has written into a dead connection waits for tcp_retries2, keep-alive or not.",
    recognise: [
      [
        "ss -tano state established",
        "no timer: nobody would notice; timer:(on,...): data is being repeated",
      ],
      ["ss -ti '( dport = :PORT )'", "lastrcv and backoff: how long the peer has been silent"],
      ["nstat -az TcpExtTCPAbortOnTimeout TcpExtTCPKeepAlive", "connections given up, probes sent"],
    ],
    symptoms: [
      "a connection that hangs for minutes",
      "ESTABLISHED at one end only",
      "ETIMEDOUT from read()",
      "TcpExtTCPAbortOnTimeout rises",
    ],
    fix: [
      "Heartbeats in the protocol, and a timeout for silence: it also finds a peer whose kernel lives and whose program hangs.",
      "socket.setKeepAlive(true, 30000): found out within 40 s while the connection is idle, and NAT routers do not forget it.",
      "A deadline for every request, for once something is written keep-alive is silent; TCP_USER_TIMEOUT, where the language allows it (Node does not).",
      "net.ipv4.tcp_retries2=8 (about 100 s) on machines whose peers fail over.",
    ],
    needs: ["nft (package nftables), to lose the packets of both directions"],
    reports: ["linkerd/linkerd2#13023", "istio/istio#38476", "openshift/library-go#926"],
  },
  arms: {
    broken,
    control,
    fixed: [heartbeat, retries],
    myth: [keepAliveSysctls, keepAliveWithData],
  },
});
