/**
 * self-connect: nobody listens on a port of the ephemeral range, a client retries, and one day it is connected: to itself.
 *
 * connect() without bind() gets a local port from the ephemeral range. When the destination is on the same machine, inside that range,
 * and nobody listens there, the kernel may choose that very port. The SYN then comes back to the socket that sent it: a
 * simultaneous open (RFC 9293 section 3.5) with itself. connect() succeeds, every byte sent is echoed, and the real server
 * cannot start any more, for its port is in use.
 *
 * WATCH   one single row in ESTABLISHED whose local and remote address are the same
 * CAVEAT  needs many attempts with the default range; it is a matter of time for a client that retries for ever
 * SEE     tcp_rcv_synsent_state_process() in net/ipv4/tcp_input.c; ip_local_port_range in ip(7)
 */
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { listenErrno, withSockets, type Line, type OwnSockets } from "../lab/network.ts";
import type { SocketRecord } from "../sockets/record.ts";

const FIRST_PORT = 40_000;
const MESSAGE = "hello";
/** Attempts for each port of the range: each hits one port of every second, so that all of them miss once in 10^8 runs. */
const ENOUGH = 10;

type Params = { readonly ports: number; readonly attempts: number };

/** The world made small: with 28,232 ports it takes some ten thousand attempts. */
function shrinkPorts(bench: Bench, { ports, attempts }: Params): number {
  const enough = ENOUGH * ports;
  bench.need(attempts >= enough, `${attempts} attempts may miss: ${ports} ports need ${enough}`);
  bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
  // The kernel tries even distances from the start of the range first, and the others only when those are all in use.
  return FIRST_PORT + 2 * Math.floor(ports / 4);
}

/** A client that retries until it is connected; nobody listens. */
async function retry(
  own: OwnSockets,
  port: number,
  attempts: number,
): Promise<{ made: number; refused: number; connected: Line | undefined }> {
  let refused = 0;
  for (let made = 1; made <= attempts; made += 1) {
    const line = await own.dial({ port });
    if (line.errno === "none") return { made, refused, connected: line };
    if (line.errno === "ECONNREFUSED") refused += 1;
  }
  return { made: attempts, refused, connected: undefined };
}

function selfConnected(rows: readonly SocketRecord[]): number {
  return rows.filter(
    ({ state, local, remote }) => state === "ESTABLISHED" && local.port === remote.port,
  ).length;
}

const broken = {
  about: "a dead port inside the ephemeral range: after some attempts it answers",
  run: async (bench: Bench, { ports, attempts }: Params) => {
    const port = shrinkPorts(bench, { ports, attempts });
    bench.say(
      `Nobody listens on port ${port}. A client tries again and again; the range holds ${ports} ports.`,
    );
    const made = bench.predict(
      "attempts until it is connected",
      between(1, attempts),
      "which local port the kernel chooses is chance",
    );
    const same = bench.predict("sockets that are connected to themselves", 1);
    const passive = bench.predict("handshakes accepted (TcpPassiveOpens)", 0, "nobody listens");
    const echoed = bench.predict("bytes that it hears from itself", MESSAGE.length);
    const start = bench.predict("the real server's listen()", "EADDRINUSE", "its port is taken");
    await withSockets(async (own) => {
      const result = await retry(own, port, attempts);
      made.measured(result.connected === undefined ? "never" : result.made);
      same.measured(selfConnected(bench.sockets()));
      passive.measured(bench.counted("TcpPassiveOpens"));
      result.connected?.socket.write(MESSAGE);
      const heard = await bench.until(
        () => result.connected?.bytes ?? 0,
        (bytes) => bytes === MESSAGE.length,
      );
      echoed.measured(heard);
      start.measured(await listenErrno(own, port));
    });
  },
};

/** As many attempts, all of which have to be refused. */
async function neverConnects(bench: Bench, port: number, attempts: number): Promise<void> {
  const refused = bench.predict("attempts refused: ECONNREFUSED", attempts);
  const same = bench.predict("sockets that are connected to themselves", 0);
  const resets = bench.predict("RSTs sent (TcpOutRsts)", attempts, "one for each attempt");
  await withSockets(async (own) => {
    refused.measured((await retry(own, port, attempts)).refused);
    same.measured(selfConnected(bench.sockets()));
    resets.measured(bench.counted("TcpOutRsts"));
  });
}

const control = {
  about: "a dead port outside the range: refused every time",
  run: async (bench: Bench, { ports, attempts }: Params) => {
    shrinkPorts(bench, { ports, attempts });
    await neverConnects(bench, FIRST_PORT - 1, attempts);
  },
};

const reserved = {
  about: "ip_local_reserved_ports: the kernel never chooses the service's port",
  run: async (bench: Bench, { ports, attempts }: Params) => {
    const port = shrinkPorts(bench, { ports, attempts });
    bench.sysctl("net.ipv4.ip_local_reserved_ports", port);
    await neverConnects(bench, port, attempts);
  },
};

const check = {
  about: "a client that looks whom it is connected to, and hangs up on itself",
  run: async (bench: Bench, { ports, attempts }: Params) => {
    const port = shrinkPorts(bench, { ports, attempts });
    await withSockets(async (own) => {
      const found = bench.predict("self-connections found out", 1);
      const left = bench.predict("sockets that are connected to themselves", 0);
      const start = bench.predict(
        "the real server's listen()",
        "none",
        "a RST leaves no TIME_WAIT",
      );
      const { connected } = await retry(own, port, attempts);
      const { localPort, remotePort, localAddress, remoteAddress } = connected?.socket ?? {};
      const isSelf = localPort === remotePort && localAddress === remoteAddress;
      found.measured(connected !== undefined && isSelf ? 1 : 0);
      connected?.socket.resetAndDestroy();
      const remaining = await bench.until(
        () => selfConnected(bench.sockets()),
        (count) => count === 0,
      );
      left.measured(remaining);
      start.measured(await listenErrno(own, port));
    });
  },
};

const answerCheck = {
  about:
    "a health check that wants an answer, not only a connection: it hears itself, and is content",
  run: async (bench: Bench, { ports, attempts }: Params) => {
    const port = shrinkPorts(bench, { ports, attempts });
    const answer = bench.predict("the answer to the check", MESSAGE, "its own words");
    const passive = bench.predict("handshakes accepted (TcpPassiveOpens)", 0, "nobody listens");
    const same = bench.predict("sockets that are connected to themselves", 1);
    await withSockets(async (own) => {
      const { connected } = await retry(own, port, attempts);
      let heard = "";
      connected?.socket.on("data", (chunk) => (heard += chunk.toString())).write(MESSAGE);
      answer.measured(
        await bench.until(
          () => heard,
          (text) => text.length === MESSAGE.length,
        ),
      );
      passive.measured(bench.counted("TcpPassiveOpens"));
      same.measured(selfConnected(bench.sockets()));
    });
  },
};

export default defineLab({
  name: "self-connect",
  summary: "a client that retries a dead local port ends up connected to itself",
  tags: ["ports", "handshakes"],
  params: {
    ports: [16, "size of the ephemeral port range; the default of Linux is 28232", [2, 5_000]],
    attempts: [2000, `attempts at most; at least ${ENOUGH} for each port`, [20, 50_000]],
  },
  story: {
    see: "connect() to a port on which nobody listens succeeds after some attempts; the client then hears whatever it says.",
    why:
      "TCP allows both ends to connect at the same time: each sends a SYN, each answers with SYN and ACK. Nothing forbids that both ends are the " +
      "same socket. It happens when the kernel picks the destination's port as the local one, which it may, for no one listens there and the 4-tuple " +
      "is free. A health check or a client that waits for its server to come up tries often enough. The connection then blocks the port, so that the " +
      "server that everybody waits for fails with EADDRINUSE.",
    recognise: [
      ["ss -tan | awk '$1 == \"ESTAB\" && $4 == $5'", "a connection whose two ends are the same"],
      ["ss -tlnp '( sport = :PORT )'", "nobody listens"],
      [
        "sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports",
        "is the service's port inside the range?",
      ],
    ],
    symptoms: [
      "connect() succeeds although nobody listens",
      "a connection whose two addresses and ports are the same",
    ],
    fix: [
      "Give services ports below the ephemeral range (below 32768), or reserve them: net.ipv4.ip_local_reserved_ports (a list, and writing replaces all of it).",
      "In a client that retries: after connect() compare local and remote address and port, and hang up when they are equal.",
      "Check an answer's content, not only that something answers.",
    ],
    reports: ["nodejs/node#2927", "tokio-rs/tokio#3405", "OpenIdentityPlatform/OpenDJ#728"],
  },
  arms: { broken, control, fixed: [reserved, check], myth: [answerCheck] },
});
