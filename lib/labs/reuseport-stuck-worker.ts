/**
 * reuseport-stuck-worker: with SO_REUSEPORT each worker has a queue of its own, and clients wait in that of a busy one while others are idle.
 *
 * The kernel deals connections out by a hash of addresses and ports, as soon as the handshake begins; it does not know who has time. A worker
 * that computes, collects garbage or hangs keeps its share of all clients waiting. From one queue that all workers share,
 * whoever is free takes the next one.
 *
 * WATCH   several LISTEN rows for one port; Recv-Q of one of them above 0, and 0 at the others
 * CAVEAT  the share of a worker is a matter of chance: between a tenth and two fifths of the clients for four of them
 * NEEDS   perl, for several listeners on one port: Node knows SO_REUSEPORT since 22.12 only
 * SEE     reuseport_select_sock() in net/core/sock_reuseport.c; SO_REUSEPORT in socket(7); tcp_migrate_req in ip-sysctl.rst
 */
import { signalled, socketInodes } from "../kernel/process.ts";
import { readSysctl } from "../kernel/sysctl.ts";
import { hasTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const HELLO = "hello, TCP";
const WORKERS = 4;
const MANY = 16;

type Params = { readonly clients: number };

/** Listens, beside others on its port if it is told to; forks workers that share the listener; tells the port and all pids; serves one client after the other. */
const SERVER = `
use Socket; $| = 1;
my ($port, $shared, $forks) = @ARGV; my @pids = ($$);
socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, $shared ? SO_REUSEADDR : SO_REUSEPORT, 1) or die;
bind($s, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die; listen($s, 4096) or die;
for (1 .. $forks) { my $pid = fork; if ($pid == 0) { close STDOUT; @pids = (); last } push @pids, $pid }
print((unpack_sockaddr_in(getsockname $s))[0], " @pids\\n") if @pids;
while (accept(my $c, $s)) { my $text; sysread($c, $text, 4096) and syswrite($c, $text); close $c }
`;

type Team = { readonly port: number; readonly pids: readonly number[] };

/** A server of that kind, with so many workers forked. */
function perl(
  bench: Bench,
  port: number,
  kind: "apart" | "shared",
  forks: number,
): ReturnType<Bench["script"]> {
  bench.need(hasTool("perl"), "needs perl: Node knows SO_REUSEPORT since 22.12 only");
  const flags = [`${port}`, kind === "shared" ? "1" : "0", `${forks}`];
  return bench.script("server", ["perl", "-e", SERVER, ...flags]);
}

/** Workers with a listener each. */
async function apart(bench: Bench, workers: number): Promise<Team> {
  let port = 0;
  const pids: number[] = [];
  while (pids.length < workers) {
    const script = await perl(bench, port, "apart", 0);
    [port = 0] = script.first.split(" ").map(Number);
    pids.push(script.pid);
  }
  return { port, pids };
}

/** Workers that share one listener. */
async function together(bench: Bench, workers: number): Promise<Team> {
  const { first } = await perl(bench, 0, "shared", workers - 1);
  const [port = 0, ...pids] = first.split(" ").map(Number);
  return { port, pids };
}

/** How many wait in the queue of one worker, and in all others. */
function waiting(bench: Bench, { port }: Team, worker: number): { his: number; others: number } {
  const inodes = socketInodes(worker);
  const sum = (isHis: boolean): number =>
    rows(bench, "server", "LISTEN", port)
      .filter(({ inode }) => (inode !== undefined && inodes.has(inode)) === isHis)
      .reduce((total, { recvQ = 0 }) => total + recvQ, 0);
  return { his: sum(true), others: sum(false) };
}

function answered(lines: readonly Line[]): number {
  return lines.filter(({ bytes }) => bytes === HELLO.length).length;
}

/** Clients that connect one after the other and say something: all of them get through their handshakes. */
async function visitors(
  own: OwnSockets,
  { clients, port }: { clients: number; port: number },
): Promise<readonly Line[]> {
  const lines = await own.dialAll(clients, { port });
  for (const { socket } of lines) socket.write(HELLO);
  return lines;
}

/** The arm with one worker stopped, and `after` when all others have done what they can. */
async function withStuckWorker(
  bench: Bench,
  start: () => Promise<Team>,
  work: (team: Team, stuck: number, own: OwnSockets) => Promise<void>,
): Promise<void> {
  const team = await start();
  const stuck = team.pids.at(-1) ?? 0;
  try {
    await bench.suspend(stuck);
    await withSockets((own) => work(team, stuck, own));
  } finally {
    for (const pid of team.pids) signalled(pid, "SIGKILL");
  }
}

/** Waits until each client is answered, or waits for the worker that is stuck. */
function settled(
  bench: Bench,
  lines: readonly Line[],
  count: () => number,
): Promise<{ done: number; left: number }> {
  return bench.until(
    () => ({ done: answered(lines), left: count() }),
    ({ done, left }) => done + left === lines.length,
  );
}

/** Listeners of their own, one worker stopped: its share waits, and is answered when it goes on. */
async function stuck(
  bench: Bench,
  { clients }: Params,
  { workers, share }: { workers: number; share: readonly [least: number, most: number] },
): Promise<void> {
  const [least, most] = share;
  const waits = bench.predict(
    "clients that wait in its queue (Recv-Q)",
    between(Math.max(1, Math.floor(clients * least)), Math.floor(clients * most)),
    `about one in ${workers}, by the hash`,
  );
  const listeners = bench.predict("LISTEN rows on the port", workers);
  const idle = bench.predict("clients that wait for the others, which are idle", 0);
  const all = bench.predict("answered or in that queue", clients);
  const later = bench.predict("clients answered when it goes on", clients);
  await withStuckWorker(
    bench,
    () => apart(bench, workers),
    async (team, worker, own) => {
      bench.say(`${workers} workers, one of them stopped; ${clients} clients.`);
      const lines = await visitors(own, { clients, port: team.port });
      const { done, left } = await settled(bench, lines, () => waiting(bench, team, worker).his);
      waits.measured(left);
      listeners.measured(rows(bench, "server", "LISTEN", team.port).length);
      idle.measured(waiting(bench, team, worker).others);
      all.measured(done + left);
      process.kill(worker, "SIGCONT");
      later.measured(await answers(bench, lines));
    },
  );
}

function answers(bench: Bench, lines: readonly Line[]): Promise<number> {
  return bench.until(
    () => answered(lines),
    (count) => count === lines.length,
  );
}

const broken = {
  about: "four workers with SO_REUSEPORT, one of them stuck: its share waits, the others are idle",
  run: (bench: Bench, params: Params) =>
    stuck(bench, params, { workers: WORKERS, share: [0.1, 0.4] }),
};

const control = {
  about: "the same four, none of them stuck: everybody is answered",
  run: async (bench: Bench, { clients }: Params) => {
    const listeners = bench.predict("LISTEN rows on the port", WORKERS);
    const done = bench.predict("clients answered", clients);
    const left = bench.predict("clients that wait in any queue (Recv-Q)", 0);
    const { port } = await apart(bench, WORKERS);
    await withSockets(async (own) => {
      listeners.measured(rows(bench, "server", "LISTEN", port).length);
      done.measured(await answers(bench, await visitors(own, { clients, port })));
      const queues = rows(bench, "server", "LISTEN", port).map(({ recvQ = 0 }) => recvQ);
      left.measured(queues.reduce((sum, queued) => sum + queued, 0));
    });
  },
};

const oneQueue = {
  about: "one listener that all four share: whoever is free takes the next client",
  run: async (bench: Bench, { clients }: Params) => {
    const listeners = bench.predict("LISTEN rows on the port", 1);
    const done = bench.predict("clients answered, one worker being stuck", clients);
    const left = bench.predict("clients that wait in the queue (Recv-Q)", 0);
    await withStuckWorker(
      bench,
      () => together(bench, WORKERS),
      async (team, worker, own) => {
        listeners.measured(rows(bench, "server", "LISTEN", team.port).length);
        done.measured(await answers(bench, await visitors(own, { clients, port: team.port })));
        left.measured(waiting(bench, team, worker).his);
      },
    );
  },
};

const endTheStuck = {
  about: "tcp_migrate_req=1, and a supervisor that ends what hangs: its queue moves to the others",
  run: async (bench: Bench, { clients }: Params) => {
    const parameter = "net.ipv4.tcp_migrate_req";
    bench.need(
      readSysctl(parameter) !== undefined,
      `needs ${parameter}, which Linux has since 5.14`,
    );
    bench.sysctl(parameter, 1);
    const waits = bench.predict(
      "clients that wait for the one that is stuck",
      between(Math.floor(0.1 * clients), Math.floor(0.4 * clients)),
    );
    const unmoved = bench.predict("of these not moved (TCPMigrateReqSuccess)", 0);
    const done = bench.predict("clients answered", clients);
    const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
    await withStuckWorker(
      bench,
      () => apart(bench, WORKERS),
      async (team, worker, own) => {
        const lines = await visitors(own, { clients, port: team.port });
        const { left } = await settled(bench, lines, () => waiting(bench, team, worker).his);
        waits.measured(left);
        signalled(worker, "SIGKILL");
        const count = await answers(bench, lines);
        unmoved.measured(left - bench.counted("TcpExtTCPMigrateReqSuccess"));
        done.measured(count);
        resets.measured(bench.counted("TcpOutRsts"));
      },
    );
  },
};

const moreWorkers = {
  about:
    "sixteen workers instead of four: fewer clients wait for the one that is stuck, and some do",
  run: (bench: Bench, params: Params) => stuck(bench, params, { workers: MANY, share: [0, 0.2] }),
};

export default defineLab({
  name: "reuseport-stuck-worker",
  summary: "SO_REUSEPORT: clients wait for a busy worker while the others are idle",
  tags: ["queues"],
  params: { clients: [200, "clients", [200, 400]] },
  story: {
    see: "One worker in four is busy, and about a quarter of all clients get no answer until it is done; the other workers have nothing to do.",
    why:
      "With SO_REUSEPORT every worker has a listener of its own, and every listener a queue of its own. The kernel chooses one of them by a hash of the 4-tuple when the SYN comes, long before anybody calls accept(), " +
      "and nobody moves a connection to another queue afterwards. That spreads load evenly over many clients, without a lock that all workers share; it takes no notice of who has time. A worker in a long computation, " +
      "a garbage collection or a deadlock holds up its share, and tail latencies tell of it. A queue that is shared (a listener inherited by fork, or Node's cluster, whose primary hands connections out) has one line for all counters.",
    recognise: [
      [
        "ss -tlnp '( sport = :PORT )'",
        "several LISTEN rows for one port, and Recv-Q above 0 at one process only",
      ],
      [
        "ss -tnp state established '( sport = :PORT )'",
        "how connections are spread over the workers",
      ],
      ["top -H", "one worker at 100 % CPU, or stopped, while the others sleep"],
    ],
    symptoms: [
      "several LISTEN rows for one port, Recv-Q above 0 at one of them only",
      "a share of all requests hangs while most workers are idle",
      "connect() succeeds, no answer ever comes",
    ],
    fix: [
      "Where answers take unequal time: one listener for all workers. In Node cluster does that; reusePort: true (since 22.12) does not. In nginx: listen without reuseport. Its price: with epoll the same few workers get most connections, as long as they keep up.",
      "Keep long work out of the loop that accepts: worker threads, a queue of jobs.",
      "A supervisor that notices a worker which does not answer and ends it, with net.ipv4.tcp_migrate_req=1 (Linux 5.14; for listeners with the same options and protocol only): what waits is not reset then, but moves.",
    ],
    needs: ["perl, for several listeners on one port"],
    reports: ["Kong/kong#12359", "typesense/typesense#2984", "puma/puma#2078"],
  },
  arms: { broken, control, fixed: [oneQueue, endTheStuck], myth: [moreWorkers] },
});
