/**
 * restart-drops-queue: connections that wait in the accept queue die with the listener, although their handshake is long over.
 *
 * The kernel completes handshakes ahead of accept(2), and clients may have sent their requests already. When the last descriptor
 * of the listener is closed (a restart, a crash, a deploy) nobody can ever accept them: the kernel sends each one a RST.
 * The client sees ECONNRESET on a connection that it believed to be served.
 *
 * WATCH   TcpOutRsts at the moment when the server ends; ECONNRESET at as many clients as were in Recv-Q
 * CAVEAT  the queue is only long when the server is slow to accept: here it is stopped, or busy for a moment
 * NEEDS   perl, for two servers on one port: Node knows SO_REUSEPORT since 22.12 only
 * SEE     inet_csk_listen_stop() in net/ipv4/inet_connection_sock.c; tcp_migrate_req in Documentation/networking/ip-sysctl.rst
 */
import { readSysctl } from "../kernel/sysctl.ts";
import { hasTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { countErrno, rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

type Params = { readonly clients: number };

/** Listens beside others on its port, tells which it is, and answers one client after the other. */
const SHARING_SERVER = `
use Socket; $| = 1;
socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEPORT, 1) or die;
bind($s, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die; listen($s, 4096) or die;
print +(unpack_sockaddr_in(getsockname $s))[0], "\\n";
while (accept(my $c, $s)) { my $text; sysread($c, $text, 4096) and syswrite($c, $text); close $c }
`;

/** How many connections wait to be accepted, all listeners on the port together. */
function inQueue(bench: Bench, port: number): number {
  const listeners = rows(bench, "server", "LISTEN", port);
  return listeners.reduce((sum, { recvQ = 0 }) => sum + recvQ, 0);
}

/** Clients that are connected, have sent a request, and wait in the accept queue of a stopped server. */
async function queueUp(
  bench: Bench,
  own: OwnSockets,
  { server, clients }: { server: { readonly pid: number; readonly port: number }; clients: number },
): Promise<readonly Line[]> {
  await bench.suspend(server.pid);
  const lines = await own.dialAll(clients, { port: server.port });
  for (const { socket } of lines) socket.write("hello");
  await bench.until(
    () => inQueue(bench, server.port),
    (queued) => queued === clients,
  );
  return lines;
}

/** Waits until every client knows what became of its connection. */
async function heard(bench: Bench, lines: readonly Line[]): Promise<void> {
  await bench.until(
    () => lines.every(({ isClosed, bytes }) => isClosed || bytes > 0),
    (all) => all,
  );
}

const broken = {
  about: "the server is killed while clients wait in its accept queue: a RST for each",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(
      `${clients} clients are connected and have sent a request; then the server is killed.`,
    );
    await withSockets(async (own) => {
      const connected = bench.predict("connects that succeed", clients, "by the kernel alone");
      const queued = bench.predict("in the accept queue (Recv-Q)", clients);
      const reset = bench.predict("clients that see ECONNRESET", clients);
      const answered = bench.predict("clients answered", 0);
      const resets = bench.predict("RSTs sent (TcpOutRsts)", clients, "one for each in the queue");
      const ends = bench.predict("resets (TcpEstabResets)", 2 * clients, "counted at both ends");
      const server = await bench.server();
      const lines = await queueUp(bench, own, { server, clients });
      connected.measured(countErrno(lines, "none"));
      queued.measured(inQueue(bench, server.port));
      process.kill(server.pid, "SIGKILL");
      await heard(bench, lines);
      reset.measured(countErrno(lines, "ECONNRESET"));
      answered.measured(lines.filter(({ bytes }) => bytes > 0).length);
      resets.measured(bench.counted("TcpOutRsts"));
      ends.measured(bench.counted("TcpEstabResets"));
    });
  },
};

const control = {
  about: "the server goes on instead: it accepts the queue and answers",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const queued = bench.predict("in the accept queue (Recv-Q)", clients);
      const answered = bench.predict("clients answered", clients);
      const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
      const server = await bench.server();
      const lines = await queueUp(bench, own, { server, clients });
      queued.measured(inQueue(bench, server.port));
      process.kill(server.pid, "SIGCONT");
      await heard(bench, lines);
      answered.measured(lines.filter(({ bytes }) => bytes > 0).length);
      resets.measured(bench.counted("TcpOutRsts"));
    });
  },
};

/** An orderly stop of a listener of our own, which had no time to accept for a moment. */
async function orderlyStop(
  bench: Bench,
  clients: number,
  { drains, reset }: { drains: boolean; reset: number },
): Promise<void> {
  await withSockets(async (own) => {
    const resets = bench.predict("clients that see ECONNRESET", reset);
    const answered = bench.predict("clients answered", clients - reset);
    const counted = bench.predict("RSTs sent (TcpOutRsts)", reset);
    const server = await own.listen({
      onLine: ({ socket }) => socket.once("data", () => socket.end("answer")),
    });
    const client = bench.start("client", [
      ...["--port", `${server.port}`, "--connections", `${clients}`],
      ...["--message", "answer", "--timeout-ms", "4000"],
    ]);
    // Busy, as in a long computation, until all of them are in the queue, with their requests: one that came later would cost a RST more.
    const busy = new Int32Array(new SharedArrayBuffer(4));
    const queued = (): number => inQueue(bench, server.port);
    const isThere = ({ recvQ = 0 }: { recvQ: number | undefined }): boolean => recvQ > 0;
    const requests = (): number =>
      rows(bench, "server", "ESTABLISHED", server.port).filter(isThere).length;
    const isComing = (): boolean => queued() < clients || requests() < clients;
    for (let waitedMs = 0; isComing() && waitedMs < 5_000; waitedMs += 10)
      Atomics.wait(busy, 0, 0, 10);
    if (drains) await bench.until(queued, (waiting) => waiting === 0);
    server.server.close();
    const seen = (await client.end) as {
      echoes: number;
      failures: Record<string, { count: number }>;
    };
    resets.measured(seen.failures["ECONNRESET"]?.count ?? 0);
    answered.measured(seen.echoes);
    counted.measured(bench.counted("TcpOutRsts"));
  });
}

/** A second server listens on the same port before the first one is killed. */
async function succeed(
  bench: Bench,
  clients: number,
  { migrates }: { readonly migrates: boolean },
): Promise<void> {
  bench.need(hasTool("perl"), "needs perl: Node knows SO_REUSEPORT since 22.12 only");
  await withSockets(async (own) => {
    const moved = migrates ? bench.predict("moved (TCPMigrateReqSuccess)", clients) : undefined;
    const reset = bench.predict("clients that see ECONNRESET", migrates ? 0 : clients);
    const answered = bench.predict("clients answered", migrates ? clients : 0);
    const resets = bench.predict("RSTs sent (TcpOutRsts)", migrates ? 0 : clients);
    const later = bench.predict("clients answered that come later", clients);
    const start = (port: number): ReturnType<Bench["script"]> =>
      bench.script("server", ["perl", "-e", SHARING_SERVER, `${port}`]);
    const old = await start(0);
    const port = Number(old.first);
    const lines = await queueUp(bench, own, { server: { pid: old.pid, port }, clients });
    await start(port);
    old.kill("SIGKILL");
    await heard(bench, lines);
    moved?.measured(bench.counted("TcpExtTCPMigrateReqSuccess"));
    reset.measured(countErrno(lines, "ECONNRESET"));
    answered.measured(lines.filter(({ bytes }) => bytes > 0).length);
    resets.measured(bench.counted("TcpOutRsts"));
    const others = await own.dialAll(clients, { port });
    for (const { socket } of others) socket.write("hello");
    await heard(bench, others);
    later.measured(others.filter(({ bytes }) => bytes > 0).length);
  });
}

const migrate = {
  about: "SO_REUSEPORT and tcp_migrate_req=1: the queue moves to the server that listens already",
  run: (bench: Bench, { clients }: Params) => {
    const parameter = "net.ipv4.tcp_migrate_req";
    bench.need(
      readSysctl(parameter) !== undefined,
      `needs ${parameter}, which Linux has since 5.14`,
    );
    bench.sysctl(parameter, 1);
    return succeed(bench, clients, { migrates: true });
  },
};

const reusePort = {
  about: "SO_REUSEPORT alone: the next server listens already, but each listener has its own queue",
  run: (bench: Bench, { clients }: Params) => succeed(bench, clients, { migrates: false }),
};

const drain = {
  about: "let the event loop turn until the queue is empty, and only then stop listening",
  run: (bench: Bench, { clients }: Params) =>
    orderlyStop(bench, clients, { drains: true, reset: 0 }),
};

const closeAtOnce = {
  about: "server.close() as an orderly stop: it waits for what was accepted, not for the queue",
  run: (bench: Bench, { clients }: Params) =>
    orderlyStop(bench, clients, { drains: false, reset: clients }),
};

export default defineLab({
  name: "restart-drops-queue",
  summary: "a server that ends resets every connection in its accept queue",
  tags: ["queues"],
  params: { clients: [23, "clients in the accept queue"] },
  story: {
    see: "All clients are connected and have sent their requests; the server ends, and each of them gets ECONNRESET.",
    why:
      "A client is connected when the kernel has completed the handshake, and it cannot know whether the program has accepted. Only accept() moves a " +
      "connection from the queue to a descriptor. When the listener is closed its queue goes with it, with a RST for each entry. Even an orderly " +
      "shutdown loses them when it closes the listener first: server.close() waits for connections that the program has, and the queue " +
      "is not among them. Every deploy under load costs as many errors as clients were just waiting.",
    recognise: [
      ["ss -tln", "Recv-Q of the LISTEN row at the moment of the restart: that many will be reset"],
      ["nstat -az TcpOutRsts TcpEstabResets", "a jump at every restart"],
      [
        "journalctl -u SERVICE | grep ECONNRESET",
        "at the clients: in bursts, at the times of deploys",
      ],
    ],
    symptoms: ["ECONNRESET from read()", "a burst of errors at every deployment"],
    fix: [
      "Take the instance out of the load balancer first, wait until no new connections come, and only then stop listening.",
      "Let the event loop turn before server.close(), so that what waits is accepted; one setImmediate() is too early.",
      "Hand the listening socket over to the new process (systemd socket activation, cluster), so that it is never closed.",
      "With SO_REUSEPORT: net.ipv4.tcp_migrate_req=1 (Linux 5.14) moves the queue to another listener; only where all of them have the same options and speak the same protocol, says ip-sysctl: others may crash. Clients: retry what is safe to repeat.",
    ],
    needs: ["perl, for two servers on one port; the arms without SO_REUSEPORT run without it"],
    reports: ["joewalnes/port-sharding#3", "libp2p/go-reuseport#6", "pgbouncer/pgbouncer#902"],
  },
  arms: { broken, control, fixed: [drain, migrate], myth: [closeAtOnce, reusePort] },
});
