/**
 * time-wait-exhaustion: a client that opens and closes connections fast runs out of local ports.
 *
 * Who closes first keeps the connection in TIME_WAIT for 60 s (RFC 9293 says 2 MSL; Linux has a constant). As long as it is
 * there its local port cannot be used for the same destination. When all ports of the range are in that state, connect()
 * fails with EADDRNOTAVAIL.
 *
 * WATCH   TIME_WAIT on the client's side reaches the size of the port range, and stays
 * CAVEAT  tcp_tw_reuse=2, the default, hides the failure on loopback: the lab sets 0, which other addresses have in effect
 * CAVEAT  of a range with an odd number of ports connect() searches one less at a time, so the last free one may be missed
 * SEE     tcp_time_wait() in net/ipv4/tcp_minisocks.c, __inet_hash_connect() in net/ipv4/inet_hashtables.c, RFC 1337
 */
import { defineLab } from "../lab/define.ts";
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { settled } from "../lab/network.ts";
import type { ChurnResult } from "../protocol/churn.ts";
import { jsonPool } from "../protocol/json/pool.ts";
import type { VisitsSummary } from "../protocol/visits.ts";

const FIRST_PORT = 40_000;
const WAIT_AFTERWARDS_MS = 1_200;
const HALF_CLOSED = 23;
/** tcp_tw_reuse_delay, 1,000 ms; a constant before Linux 6.14. */
const REUSE_AFTER_MS = 1_050;

type Params = { readonly ports: number };

/** The world made small: few ports, and a TIME_WAIT that nothing cuts short. */
function shrinkPorts(bench: Bench, ports: number): void {
  bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
  bench.sysctl("net.ipv4.tcp_tw_reuse", 0);
}

/** Each RST that hits a TIME_WAIT ends it, and its port serves once more. */
function assassinations(bench: Bench): { counter: string; value: number; because: string } {
  return {
    counter: "TcpOutRsts",
    value: bench.counted("TcpOutRsts"),
    because: "a RST ends a TIME_WAIT early, and its port serves once more (RFC 1337)",
  };
}

function firstErrno({ failures }: ChurnResult): string {
  return Object.keys(failures)[0] ?? "none";
}

async function bombUntilError(
  bench: Bench,
  capacity: number,
  flags: readonly string[] = [],
): Promise<void> {
  const successes = bench.predict(
    "connections until the first error",
    capacity,
    "one for each port and destination",
  );
  const errno = bench.predict("the error", "EADDRNOTAVAIL");
  const handshakes = bench.predict("handshakes counted by the kernel (TcpActiveOpens)", capacity);
  const ours = bench.predict(
    "TIME_WAIT afterwards, client's side",
    capacity,
    "the client closes first",
  );
  const theirs = bench.predict("TIME_WAIT afterwards, server's side", 0);
  const result = await bench.run<ChurnResult>("bomb", ["--count", `${capacity * 2}`, ...flags]);
  const view = await bench.settledView();
  successes.measured(result.successes, assassinations(bench));
  errno.measured(firstErrno(result));
  handshakes.measured(bench.counted("TcpActiveOpens"), assassinations(bench));
  ours.measured(view.clients.TIME_WAIT, assassinations(bench));
  theirs.measured(view.server.TIME_WAIT);
}

async function bombWithoutError(
  bench: Bench,
  count: number,
  flags: readonly string[] = [],
): Promise<ChurnResult> {
  const successes = bench.predict("connections that succeed", count);
  const errno = bench.predict("the first error", "none");
  const result = await bench.run<ChurnResult>("bomb", ["--count", `${count}`, ...flags]);
  successes.measured(result.successes);
  errno.measured(firstErrno(result));
  return result;
}

const broken = {
  about: "the client closes first, and each port waits 60 s",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    await bench.server();
    bench.say(
      `The port range holds ${ports} ports (default 28232). The bomb connects and closes until connect() fails.`,
    );
    await bombUntilError(bench, ports);
  },
};

const control = {
  about: "the server closes first: TIME_WAIT is its problem, and it needs only one port",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    await bench.server(["--behave", "close-first"]);
    bench.say(
      "The same bomb, but it waits until the server has closed. Twice as many connections as there are ports.",
    );
    const clients = bench.predict("TIME_WAIT afterwards, client's side", 0);
    const server = bench.predict(
      "TIME_WAIT afterwards, server's side",
      between(1, ports),
      "one for each client port used at least once; which are used is the kernel's choice",
    );
    await bombWithoutError(bench, ports * 2, ["--leave", "wait"]);
    const view = await bench.settledView();
    clients.measured(view.clients.TIME_WAIT);
    server.measured(view.server.TIME_WAIT);
  },
};

const reuseConnections = {
  about: "a pool: four connections carry twice as many requests as there are ports",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    const { port } = await bench.server(["--protocol", "json"]);
    const connections = 4;
    const answered = bench.predict("requests answered", ports * 2);
    const handshakes = bench.predict(
      "handshakes counted by the kernel (TcpActiveOpens)",
      connections,
    );
    const established = bench.predict("ESTABLISHED, client's side", connections);
    await using pool = jsonPool({ port }, { max: connections, maxQueue: ports * 2 });
    const answers = await Promise.all(
      Array.from({ length: ports * 2 }, () => pool.use((one) => one.request({ type: "ping" }))),
    );
    answered.measured(answers.length);
    handshakes.measured(bench.counted("TcpActiveOpens"));
    established.measured((await bench.settledView()).clients.ESTABLISHED);
  },
};

/**
 * In two fills of the range, and not at a steady rate: a bomb that the machine holds up catches up afterwards, and a burst needs more
 * ports in one second than a rate promises. A second that begins when the last connection has closed can only become longer.
 */
const twReuse = {
  about: "tcp_tw_reuse=1: a port may be used again one second after its close",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    await bench.server();
    const again = bench.predict("connections through the same ports a second later", ports);
    const recycled = bench.predict(
      "TIME_WAIT taken over by connect() (TcpExtTWRecycled)",
      ports,
      "each port of the range once",
    );
    await bombUntilError(bench, ports);
    bench.say("The range is used up. Now tcp_tw_reuse=1, and one second of patience.");
    bench.sysctl("net.ipv4.tcp_tw_reuse", 1);
    await bench.pass(REUSE_AFTER_MS);
    const { successes } = await bench.run<ChurnResult>("bomb", ["--count", `${ports}`]);
    again.measured(successes);
    recycled.measured(bench.counted("TcpExtTWRecycled"), assassinations(bench));
  },
};

const secondDestination = {
  about: "a second destination: what is unique is the 4-tuple, not the port",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    await bench.server();
    await bench.server();
    await bombUntilError(bench, ports * 2, ["--destinations", "2"]);
  },
};

const widerRange = {
  about: "a port range twice as wide: twice as many connections, then the same failure",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports); // As in the broken arm; and now the cure.
    shrinkPorts(bench, ports * 2);
    await bench.server();
    await bombUntilError(bench, ports * 2);
  },
};

const finTimeout = {
  about: "tcp_fin_timeout=1: it limits FIN_WAIT2, and TIME_WAIT not at all",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    bench.sysctl("net.ipv4.tcp_fin_timeout", 1);
    await bench.server();
    const { port } = await bench.server(["--leak"]);
    const left = bench.predict(
      `TIME_WAIT ${WAIT_AFTERWARDS_MS} ms later`,
      ports,
      "60 s is a constant of the kernel",
    );
    const halfClosed = bench.predict(
      `FIN_WAIT2 then, of ${HALF_CLOSED} (peer stays open)`,
      0,
      "their second is over",
    );
    await bombUntilError(bench, ports);
    const { left: closed } = await bench.run<VisitsSummary>("client", [
      ...["--port", `${port}`, "--connections", `${HALF_CLOSED}`],
      ...["--messages", "0", "--leave", "end"],
    ]);
    if (closed !== HALF_CLOSED) throw new Error(`only ${closed} of ${HALF_CLOSED} clients closed`);
    await bench.pass(WAIT_AFTERWARDS_MS);
    left.measured(bench.view().clients.TIME_WAIT, assassinations(bench));
    halfClosed.measured(await settled(bench, 0, ["client", "FIN_WAIT2", port]));
  },
};

export default defineLab({
  name: "time-wait-exhaustion",
  summary: "a client that opens and closes fast runs out of ports",
  tags: ["ports", "closing"],
  params: {
    ports: [
      1000,
      "size of the ephemeral port range, even; the default of Linux is 28232",
      // `remaining &= ~1U` in __inet_hash_connect(): with 23 ports the 23rd is not found one time in ten.
      [24, 12_000, 2],
    ],
  },
  story: {
    see: "connect() succeeds once for every port of the range, then fails with EADDRNOTAVAIL, although the server is idle.",
    why:
      "The side that closes first keeps the connection in TIME_WAIT for 60 s, so that a lost last ACK can be repeated and no " +
      "late segment strays into a later connection. Meanwhile the 4-tuple (local address and port, remote address and port) is in use. " +
      "With one destination only the local port can vary, and there are 28,232 of them by default: 470 connections per second are " +
      "all that can be sustained. On loopback the default tcp_tw_reuse=2 gives ports back after one second, which hides the failure.",
    recognise: [
      ["tcp-states", "TIME_WAIT close to the size of the port range"],
      [
        "ss -tan state time-wait | awk '{print $4}' | sort | uniq -c | sort -rn | head",
        "all to the same destination",
      ],
      [
        "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse",
        "the range, and whether ports come back early",
      ],
      ["nstat -az TcpExtTW TcpActiveOpens", "how many connections end in TIME_WAIT here"],
    ],
    symptoms: [
      "EADDRNOTAVAIL from connect()",
      "many TIME_WAIT on the client's side",
      "TcpExtTW rises as fast as TcpActiveOpens",
    ],
    fix: [
      "Reuse connections: a pool, HTTP keep-alive (in Node: new http.Agent({ keepAlive: true }), the default since Node 19).",
      "More 4-tuples: several addresses or ports of the server, several source addresses, a wider ip_local_port_range.",
      "net.ipv4.tcp_tw_reuse=1 on the client: safe with TCP timestamps; a port comes back after one second.",
      "Not tcp_fin_timeout: it is about FIN_WAIT2. Not tcp_tw_recycle: it broke clients behind NAT and is gone since Linux 4.12.",
    ],
    reports: [
      "grafana/k6#826",
      "JoeDog/siege#127",
      "TechEmpower/FrameworkBenchmarks#4092",
      "cockroachdb/cockroach#6694",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [reuseConnections, twReuse, secondDestination, widerRange],
    myth: [finTimeout],
  },
});
