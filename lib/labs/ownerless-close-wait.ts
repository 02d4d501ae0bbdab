/**
 * ownerless-close-wait: connections in CLOSE_WAIT that no process owns, because none has accepted them yet.
 *
 * The kernel completes the handshake, takes the client's data and its FIN, all without the program. Until accept(2) is called
 * such a connection has no descriptor: no process, no inode, nothing in lsof. A stuck server (stopped, blocked, swapping)
 * collects them; they look like a leak of descriptors, and are none.
 *
 * WATCH   CLOSE_WAIT rows with inode 0, and as many connections in Recv-Q of the LISTEN row
 * CAVEAT  the clients see nothing wrong: connect, write and close all succeed
 * SEE     tcp_fin() in net/ipv4/tcp_input.c, inet_csk_accept() in net/ipv4/inet_connection_sock.c
 */
import { socketInodes } from "../kernel/process.ts";
import type { Bench, RunningServer } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { countErrno, rows, settled, withSockets, type Line } from "../lab/network.ts";
import type { SocketRecord } from "../sockets/record.ts";

const BACKLOG = 7;
const LATER_MS = 1_300;

type Params = { readonly clients: number };

/** Stops a server as SIGSTOP does, lets it go on at the end, whatever happens in between. */
async function whileStopped(
  bench: Bench,
  { pid }: RunningServer,
  work: () => Promise<void>,
): Promise<void> {
  await bench.suspend(pid);
  try {
    await work();
  } finally {
    process.kill(pid, "SIGCONT");
  }
}

/** Clients that connect, send a request, and give up waiting for the answer. */
async function impatient(count: number, port: number): Promise<readonly Line[]> {
  let lines: readonly Line[] = [];
  await withSockets(async (own) => {
    lines = await own.dialAll(count, { port });
    const closed = lines.map(
      ({ socket }) => new Promise((resolve) => socket.once("close", resolve)),
    );
    for (const { socket } of lines) socket.write("hello", () => socket.destroy());
    await Promise.all(closed);
  });
  return lines;
}

/** Rows in CLOSE_WAIT with this inode: those that belong to no process have none. */
function ownerless(all: readonly SocketRecord[]): number {
  return all.filter(({ inode }) => inode === 0).length;
}

/** The clients come and go while the server is stopped. */
async function comeAndGo(bench: Bench, server: RunningServer, clients: number): Promise<void> {
  const waiting = bench.predict("CLOSE_WAIT without an owner", clients, "inode 0");
  const owned = bench.predict("CLOSE_WAIT that the server owns", 0);
  const queued = bench.predict("in the accept queue (Recv-Q)", clients, "they are all in there");
  const errors = bench.predict("clients that saw an error", 0);
  const overflows = bench.predict("SYNs dropped (ListenOverflows)", 0);
  const lines = await impatient(clients, server.port);
  await settled(bench, clients, ["server", "CLOSE_WAIT"]);
  const all = rows(bench, "server", "CLOSE_WAIT");
  const inodes = socketInodes(server.pid);
  waiting.measured(ownerless(all));
  owned.measured(all.filter(({ inode }) => inodes.has(inode ?? 0)).length);
  queued.measured(bench.view().queued);
  errors.measured(lines.length - countErrno(lines, "none"));
  overflows.measured(bench.counted("TcpExtListenOverflows"));
}

const broken = {
  about: "the server is stopped (SIGSTOP): clients connect, send, close, and are not accepted",
  run: async (bench: Bench, { clients }: Params) => {
    const server = await bench.server();
    bench.say(`The server is stopped; ${clients} clients connect, send a request, and leave.`);
    await whileStopped(bench, server, () => comeAndGo(bench, server, clients));
  },
};

const control = {
  about: "the same clients, and a server that runs: it accepts and closes",
  run: async (bench: Bench, { clients }: Params) => {
    const { port } = await bench.server();
    const waiting = bench.predict("CLOSE_WAIT, server's side", 0);
    const queued = bench.predict("in the accept queue (Recv-Q)", 0);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients);
    await impatient(clients, port);
    waiting.measured(await settled(bench, 0, ["server", "CLOSE_WAIT"]));
    queued.measured(bench.view().queued);
    handshakes.measured(bench.counted("TcpPassiveOpens"));
  },
};

const goesOn = {
  about: "the server goes on (SIGCONT): it accepts what waits, finds the end, and closes",
  run: async (bench: Bench, { clients }: Params) => {
    const server = await bench.server();
    await whileStopped(bench, server, () => comeAndGo(bench, server, clients));
    const left = bench.predict("CLOSE_WAIT once it runs again", 0);
    const queued = bench.predict("Recv-Q once it runs again", 0);
    const accepted = bench.predict("connections that it accepted", clients);
    left.measured(await settled(bench, 0, ["server", "CLOSE_WAIT"]));
    queued.measured(bench.view().queued);
    accepted.measured((await server.stop()).accepted);
  },
};

const shortQueue = {
  about: "a short backlog: at most backlog + 1 can pile up; the others wait in SYN_SENT",
  run: async (bench: Bench, { clients }: Params) => {
    const room = BACKLOG + 1;
    bench.need(clients > room, `${clients} clients fit into the queue`);
    const server = await bench.server(["--backlog", `${BACKLOG}`]);
    await whileStopped(bench, server, () =>
      withSockets(async (own) => {
        const waiting = bench.predict("CLOSE_WAIT without an owner", room, "backlog + 1");
        const outside = bench.predict("SYN_SENT, client's side", clients - room);
        for (let client = 0; client < clients; client += 1)
          void own.dial({ port: server.port }).then(({ socket }) => socket.end("hello"));
        await settled(bench, room, ["server", "CLOSE_WAIT"]);
        waiting.measured(ownerless(rows(bench, "server", "CLOSE_WAIT")));
        outside.measured(await settled(bench, clients - room, ["client", "SYN_SENT"]));
      }),
    );
  },
};

const finTimeout = {
  about: "tcp_fin_timeout=1: it ends the client's FIN_WAIT2; CLOSE_WAIT stays",
  run: async (bench: Bench, { clients }: Params) => {
    bench.sysctl("net.ipv4.tcp_fin_timeout", 1);
    const server = await bench.server();
    await whileStopped(bench, server, async () => {
      await comeAndGo(bench, server, clients);
      const theirs = bench.predict(`FIN_WAIT2 ${LATER_MS} ms later`, 0, "tcp_fin_timeout");
      const ours = bench.predict(`CLOSE_WAIT ${LATER_MS} ms later`, clients, "no timer ends it");
      await bench.pass(LATER_MS);
      theirs.measured(await settled(bench, 0, ["client", "FIN_WAIT2"]));
      ours.measured(ownerless(rows(bench, "server", "CLOSE_WAIT")));
    });
  },
};

export default defineLab({
  name: "ownerless-close-wait",
  summary: "CLOSE_WAIT that no process owns: the connections were never accepted",
  tags: ["descriptors", "queues"],
  // The accept queue has room for Node's backlog of 511, and one more.
  params: { clients: [23, "clients that come and go while the server is stopped", [1, 512]] },
  story: {
    see: "CLOSE_WAIT rows without a process, as many as wait in the accept queue; the clients saw no error at all.",
    why:
      "A connection exists in the kernel before the program knows of it. It can be opened, filled with data and closed by the client while " +
      "it waits in the accept queue; it is in CLOSE_WAIT then, and as no accept() has made a descriptor for it, no process owns it. The " +
      "program is not leaking: it is not running, or its event loop is blocked. When it goes on it accepts dead connections " +
      "first, and may even work on requests whose clients have left long ago.",
    recognise: [
      ["ss -tanpe state close-wait", "rows without users:(...) and with ino:0"],
      ["ss -tln", "Recv-Q of the LISTEN row: as many wait for accept()"],
      ["ps -o pid,stat,wchan:20,cmd -p PID", "T is stopped, D is stuck in the kernel, R computes"],
      ["lsof -nP -iTCP:PORT", "shows none of them: lsof sees descriptors only"],
    ],
    symptoms: [
      "many CLOSE_WAIT",
      "CLOSE_WAIT that no process owns",
      "Recv-Q of a LISTEN row that does not fall",
    ],
    fix: [
      "Find out why the server does not accept: blocked event loop, stopped, swapping, at its descriptor limit. " +
        "In Node: monitorEventLoopDelay() of node:perf_hooks tells of the first; long work belongs in a worker thread.",
      "A backlog no longer than what you can serve before clients give up: what waits longer is work for nobody.",
      "Check the age of a request before working on it, or whether its connection has ended meanwhile.",
    ],
    reports: ["cyrusimap/cyrus-imapd#2824", "envoyproxy/envoy#8031"],
  },
  arms: { broken, control, fixed: [goesOn, shortQueue], myth: [finTimeout] },
});
