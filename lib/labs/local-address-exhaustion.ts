/**
 * local-address-exhaustion: bind() before connect() halves the ports, and the error has another name.
 *
 * A client that names its own address (localAddress, to choose an interface or a source IP) calls bind(2) with port 0. At that moment
 * the kernel does not know the destination yet, so it must choose a port that no other socket has: one port, one connection. Without
 * bind the port is chosen in connect(2), where the whole 4-tuple counts: each port serves once for every destination.
 *
 * WATCH   the same range of ports, two destinations: twice the connections without localAddress
 * CAVEAT  libuv reports a failed bind() at connect: EADDRINUSE with the syscall "connect"
 * SEE     inet_csk_get_port() in net/ipv4/inet_connection_sock.c against __inet_hash_connect(); IP_BIND_ADDRESS_NO_PORT in ip(7)
 */
import type { TcpNetConnectOpts } from "node:net";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const FIRST_PORT = 40_000;
const DESTINATIONS = 2;
const SOURCE = "127.0.0.1";

type Params = { readonly ports: number };

/** The world made small: the default range holds 28,232 ports. */
function shrinkPorts(bench: Bench, ports: number): void {
  bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
}

/** What one connection is made with; its number counts from 0. */
type Choice = (attempt: number) => Partial<TcpNetConnectOpts>;

/** Connects to the destinations in turn, holding all connections, until one fails. */
async function untilError(
  own: OwnSockets,
  destinations: readonly number[],
  choose: Choice,
): Promise<{ lines: readonly Line[]; error: string }> {
  const lines: Line[] = [];
  for (;;) {
    const port = destinations[lines.length % destinations.length] ?? 0;
    const line = await own.dial({ port, ...choose(lines.length) });
    if (line.errno !== "none") return { lines, error: line.errno };
    lines.push(line);
  }
}

/** Fills the range; `capacity` connections are expected, and then this error. */
async function fill(
  bench: Bench,
  { ports, capacity, error }: { ports: number; capacity: number; error: string },
  choose: Choice,
): Promise<void> {
  shrinkPorts(bench, ports);
  await withSockets(async (own) => {
    const listeners = [await own.listen(), await own.listen()].slice(0, DESTINATIONS);
    const destinations = listeners.map(({ port }) => port);
    const because =
      capacity === ports ? "one for each port" : `${ports} ports x ${DESTINATIONS} destinations`;
    const connected = bench.predict("connections until the first error", capacity, because);
    const failure = bench.predict("the error of the next one", error);
    const used = bench.predict("local ports in use", ports, "all of the range");
    const open = bench.predict("ESTABLISHED, client's side", capacity);
    const waiting = bench.predict("TIME_WAIT, client's side", 0, "nothing to wait for, or reuse");
    const handshakes = bench.predict("handshakes (TcpActiveOpens)", capacity);
    const result = await untilError(own, destinations, choose);
    connected.measured(result.lines.length);
    failure.measured(result.error);
    const all = destinations.flatMap((port) => rows(bench, "client", "ESTABLISHED", port));
    used.measured(new Set(all.map(({ local }) => local.port)).size);
    open.measured(all.length);
    waiting.measured(rows(bench, "client", "TIME_WAIT").length);
    handshakes.measured(bench.counted("TcpActiveOpens"));
  });
}

const broken = {
  about: "localAddress: bind() takes a whole port for each connection",
  run: async (bench: Bench, { ports }: Params) => {
    bench.say(
      `${ports} ports (default 28232), ${DESTINATIONS} destinations, all connections stay open.`,
    );
    const order = { ports, capacity: ports, error: "EADDRINUSE" };
    await fill(bench, order, () => ({ localAddress: SOURCE }));
  },
};

const control = {
  about: "localAddress, and no more connections than ports: no error",
  run: async (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    await withSockets(async (own) => {
      const { port } = await own.listen();
      const connected = bench.predict("connections", ports);
      const open = bench.predict("ESTABLISHED, client's side", ports);
      const lines = await own.dialAll(ports, { port, localAddress: SOURCE });
      connected.measured(lines.filter(({ errno }) => errno === "none").length);
      open.measured(rows(bench, "client", "ESTABLISHED", port).length);
    });
  },
};

const kernelChooses = {
  about: "no localAddress: connect() chooses, and each port serves once per destination",
  run: (bench: Bench, { ports }: Params) => {
    const order = { ports, capacity: ports * DESTINATIONS, error: "EADDRNOTAVAIL" };
    return fill(bench, order, () => ({}));
  },
};

const weChoose = {
  about: "localAddress and localPort: we choose, and use each port once per destination",
  run: async (bench: Bench, { ports }: Params) => {
    const order = { ports, capacity: ports * DESTINATIONS, error: "EADDRNOTAVAIL" };
    await fill(bench, order, (attempt) => ({
      localAddress: SOURCE,
      localPort: FIRST_PORT + (Math.floor(attempt / DESTINATIONS) % ports),
    }));
  },
};

const twReuse = {
  about: "tcp_tw_reuse=1: the connections are open, there is no TIME_WAIT to reuse",
  run: (bench: Bench, { ports }: Params) => {
    bench.sysctl("net.ipv4.tcp_tw_reuse", 1);
    const order = { ports, capacity: ports, error: "EADDRINUSE" };
    return fill(bench, order, () => ({ localAddress: SOURCE }));
  },
};

export default defineLab({
  name: "local-address-exhaustion",
  summary: "bind before connect: one connection per port, then EADDRINUSE",
  tags: ["ports"],
  // connect() searches an even number of ports: `remaining &= ~1U` in __inet_hash_connect().
  params: {
    ports: [
      64,
      "size of the ephemeral port range, even; the default of Linux is 28232",
      [2, 2_000, 2],
    ],
  },
  story: {
    see: "With localAddress each local port serves one connection, whatever its destination; the next attempt fails with EADDRINUSE.",
    why:
      "What has to be unique is the 4-tuple: local address and port, remote address and port. connect() alone looks for a free 4-tuple. " +
      "bind() with port 0 comes earlier, knows no destination, and takes a port for itself. So a proxy that binds its source address " +
      "runs out of ports with all of its destinations together, where it could have had the whole range for each of them. " +
      "The name of the error tells which of the two ran out: EADDRINUSE from bind(), EADDRNOTAVAIL from connect().",
    recognise: [
      [
        "ss -tan 'sport >= :32768' | awk '{print $4}' | sort | uniq -d | head",
        "nothing, although the range is full and there are several destinations: no port serves twice, somebody binds first. With one destination it says nothing: there the errno tells, EADDRINUSE (bind) or EADDRNOTAVAIL (connect)",
      ],
      ["strace -f -e trace=bind,connect -p PID", "bind(..., port 0) before every connect()"],
      ["sysctl net.ipv4.ip_local_port_range", "the range that they all share"],
    ],
    symptoms: ["EADDRINUSE from connect()", "EADDRNOTAVAIL from connect()"],
    fix: [
      "Leave localAddress out where routing chooses the right address anyway.",
      "setsockopt IP_BIND_ADDRESS_NO_PORT before bind(), where the language allows it (nginx, HAProxy, envoy do; Node cannot).",
      "Choose the port as well (localAddress and localPort), and use each one once per destination.",
      "Several source addresses: each has a range of its own.",
    ],
    reports: [
      "envoyproxy/envoy#44747",
      "envoyproxy/envoy#38288",
      "shadowsocks/shadowsocks-libev#2930",
    ],
  },
  arms: { broken, control, fixed: [kernelChooses, weChoose], myth: [twReuse] },
});
