/**
 * port-in-use: EADDRINUSE has more than one cause, and only one of them is another server.
 *
 * listen() needs a port on which nobody listens and which no connection blocks. A server that still runs is the usual reason. A
 * less usual one: an outgoing connection, of any program, got that port as its local one, because it lies in the
 * ephemeral range. Then nobody listens, and the port is taken all the same: for as long as that connection lives, and for 60 s of
 * TIME_WAIT after it if this end closed first.
 *
 * WATCH   the row whose local port is the service's: LISTEN, or ESTABLISHED or TIME_WAIT towards somewhere else
 * CAVEAT  libuv sets SO_REUSEADDR on listeners, so the TIME_WAIT of an earlier Node server blocks none; that of a socket without it does
 * SEE     inet_csk_get_port() and inet_csk_bind_conflict() in net/ipv4/inet_connection_sock.c; SO_REUSEADDR in socket(7)
 */
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { listenErrno, rows, settled, withSockets } from "../lab/network.ts";

const FIRST_PORT = 40_000;

type Params = { readonly ports: number };

/** The world made small, so that the service's port is hit for sure: the default range holds 28,232 ports. */
function shrinkPorts(bench: Bench, ports: number): number {
  bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
  return FIRST_PORT + Math.floor(ports / 2);
}

/** Sockets whose local port is this one, by what they are. */
function holders(bench: Bench, port: number): { listening: number; outgoing: number } {
  return {
    listening: rows(bench, "server", "LISTEN", port).length,
    outgoing: rows(bench, "server", "ESTABLISHED", port).length,
  };
}

const broken = {
  about: "an outgoing connection took the service's port: nobody listens, and it is in use",
  run: async (bench: Bench, { ports }: Params) => {
    const port = shrinkPorts(bench, ports);
    bench.say(
      `The service wants port ${port}. ${ports} outgoing connections use the range, which contains it.`,
    );
    await withSockets(async (own) => {
      const outgoing = bench.predict("outgoing connections with that port", 1);
      const handshakes = bench.predict("handshakes (TcpActiveOpens)", ports, "one for each port");
      const listening = bench.predict("listeners on that port", 0);
      const start = bench.predict("the service's listen()", "EADDRINUSE");
      const elsewhere = await own.listen();
      await own.dialAll(ports, { port: elsewhere.port });
      const seen = holders(bench, port);
      outgoing.measured(seen.outgoing);
      handshakes.measured(bench.counted("TcpActiveOpens"));
      listening.measured(seen.listening);
      start.measured(await listenErrno(own, port));
    });
  },
};

const closeThem = {
  about: "closing the outgoing connections: TIME_WAIT keeps the port, SO_REUSEADDR or not",
  run: async (bench: Bench, { ports }: Params) => {
    const port = shrinkPorts(bench, ports);
    await withSockets(async (own) => {
      const waiting = bench.predict("TIME_WAIT, outgoing", ports, "this end closed first");
      const withPort = bench.predict("of these with the service's port", 1);
      const listening = bench.predict("listeners on that port", 0);
      const start = bench.predict(
        "the service's listen()",
        "EADDRINUSE",
        "the connection never had SO_REUSEADDR",
      );
      const elsewhere = await own.listen();
      for (const { socket } of await own.dialAll(ports, { port: elsewhere.port })) socket.end();
      waiting.measured(await settled(bench, ports, ["client", "TIME_WAIT", elsewhere.port]));
      withPort.measured(rows(bench, "server", "TIME_WAIT", port).length);
      listening.measured(holders(bench, port).listening);
      start.measured(await listenErrno(own, port));
    });
  },
};

const otherServer = {
  about: "the usual cause: another server, and SO_REUSEADDR does not help against it",
  run: async (bench: Bench, { ports }: Params) => {
    const port = shrinkPorts(bench, ports);
    await withSockets(async (own) => {
      const start = bench.predict("the service's listen()", "EADDRINUSE");
      const listening = bench.predict("listeners on that port", 1, "the other server's");
      const outgoing = bench.predict("outgoing connections with that port", 0);
      await own.listen({ port });
      start.measured(await listenErrno(own, port));
      const seen = holders(bench, port);
      listening.measured(seen.listening);
      outgoing.measured(seen.outgoing);
    });
  },
};

const control = {
  about:
    "an earlier server's TIME_WAIT on that port: SO_REUSEADDR, which libuv sets, lets it listen",
  run: async (bench: Bench, { ports }: Params) => {
    const port = shrinkPorts(bench, ports);
    await withSockets(async (own) => {
      const waiting = bench.predict(
        "TIME_WAIT on that port",
        ports,
        "an earlier server closed first",
      );
      const start = bench.predict("the service's listen()", "none");
      const listening = bench.predict("listeners on that port", 1);
      const earlier = await own.listen({ port, onLine: ({ socket }) => socket.end() });
      // Each from another port: a SYN from the same one would end the TIME_WAIT.
      for (let client = 1; client <= ports; client += 1)
        await own.dial({ port, localPort: FIRST_PORT + ports + client });
      const seen = await settled(bench, ports, ["server", "TIME_WAIT", port]);
      await new Promise((resolve) => earlier.server.close(resolve));
      waiting.measured(seen);
      start.measured(await listenErrno(own, port));
      listening.measured(holders(bench, port).listening);
    });
  },
};

/** The service starts although the whole rest of the range is in use. */
async function starts(bench: Bench, port: number, connections: number): Promise<void> {
  await withSockets(async (own) => {
    const used = bench.predict("outgoing connections", connections, "every port that is left");
    const outgoing = bench.predict("outgoing connections with that port", 0);
    const start = bench.predict("the service's listen()", "none");
    const next = bench.predict(
      "one more outgoing connection",
      "EADDRNOTAVAIL",
      "the range is full",
    );
    const elsewhere = await own.listen();
    await own.dialAll(connections, { port: elsewhere.port });
    used.measured(rows(bench, "client", "ESTABLISHED", elsewhere.port).length);
    outgoing.measured(holders(bench, port).outgoing);
    start.measured(await listenErrno(own, port));
    next.measured((await own.dial({ port: elsewhere.port })).errno);
  });
}

const reserved = {
  about: "ip_local_reserved_ports: no outgoing connection gets the service's port",
  run: (bench: Bench, { ports }: Params) => {
    const port = shrinkPorts(bench, ports);
    bench.sysctl("net.ipv4.ip_local_reserved_ports", port);
    return starts(bench, port, ports - 1);
  },
};

const outside = {
  about: "a port below the ephemeral range: nothing to reserve",
  run: (bench: Bench, { ports }: Params) => {
    shrinkPorts(bench, ports);
    return starts(bench, FIRST_PORT - 1, ports);
  },
};

export default defineLab({
  name: "port-in-use",
  summary: "EADDRINUSE although nobody listens: an outgoing connection has the port",
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
    see: "listen() fails with EADDRINUSE, and no listener is to be found: the port is the local end of somebody's outgoing connection.",
    why:
      "Outgoing connections take their local ports from ip_local_port_range, 32768 to 60999 by default. A service whose port lies inside can " +
      "find it taken at its start, once in a while, for as long as that connection lives, and for 60 s of TIME_WAIT after it if this end " +
      "closed first. A listening port must not be the local port of a connection with the same local address (0.0.0.0 and :: meet all), except those that had SO_REUSEADDR set, as a former listener's have, in " +
      "TIME_WAIT too. An outgoing connection has it only where bind() came before connect(), as in Node with localAddress or localPort. And " +
      "against a listener that still runs SO_REUSEADDR does nothing on Linux.",
    recognise: [
      [
        "ss -tanp '( sport = :PORT )'",
        "LISTEN: another server; ESTABLISHED: an outgoing connection; TIME_WAIT: a restart (harmless), or an outgoing connection " +
          "that has just closed (blocks): look at the peer's port",
      ],
      [
        "sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports",
        "is the service's port inside?",
      ],
      ["ss -tlnp '( sport = :PORT )'", "who listens; it may be a child that inherited the socket"],
    ],
    symptoms: ["EADDRINUSE from listen()"],
    fix: [
      "Reserve it: sysctl -w net.ipv4.ip_local_reserved_ports=OLD,PORT (one of the safe sysctls of Kubernetes). It replaces the list: read it first.",
      "Better: choose service ports below 32768, or move the range up.",
      "Against the TIME_WAIT of an earlier server: SO_REUSEADDR before bind(), in the old server and in the new one. Node does it. Against that of an outgoing connection: 60 s, or ss -tK state time-wait '( sport = :PORT )' as root (the kernel needs CONFIG_INET_DIAG_DESTROY; older ones refuse for TIME_WAIT).",
    ],
    reports: ["hashicorp/nomad#3456", "projectcalico/calico#3424", "kubernetes/kops#6342"],
  },
  arms: { broken, control, fixed: [reserved, outside], myth: [otherServer, closeThem] },
});
