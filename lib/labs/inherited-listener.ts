/**
 * inherited-listener: the server is dead, its port is not. A child that knows nothing of it has the listener open.
 *
 * A descriptor without FD_CLOEXEC survives fork() and exec(). A socket listens as long as anybody has it open, so when the server
 * dies and a helper that it once started lives on, the kernel goes on completing handshakes for a queue that nobody
 * empties. The next server gets EADDRINUSE; its clients connect and wait.
 *
 * WATCH   LISTEN whose owner is sleep, a shell or a helper; Recv-Q of that row
 * CAVEAT  Node opens everything with O_CLOEXEC and cannot do it by accident: the server of this lab is written in Perl
 * NEEDS   perl
 * SEE     fork(2), execve(2), SOCK_CLOEXEC in socket(2), $^F in perlvar(1)
 */
import { commandLine, ownerOfSocket } from "../kernel/process.ts";
import { hasTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import type { Script } from "../lab/program.ts";
import {
  countErrno,
  rows,
  settled,
  withSockets,
  type Line,
  type OwnSockets,
} from "../lab/network.ts";

const HELLO = "hello, TCP";

type Params = { readonly clients: number };

/** Listens, starts a child if asked to, tells its port and the child's pid, and serves one client after the other. */
const SERVER = `
use Socket; $| = 1;
my ($port, $inherit, $shared, $child) = @ARGV;
$^F = 99 if $inherit;
socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEPORT, 1) or die if $shared;
bind($s, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die; listen($s, 128) or die;
my $pid = $child ? fork : -1;
if ($pid == 0) { close STDOUT; exec "sleep", "30" }
print +(unpack_sockaddr_in(getsockname $s))[0], " $pid\\n";
while (accept(my $c, $s)) { my $text; sysread($c, $text, 4096) and syswrite($c, $text); close $c }
`;

/** How the server is written. */
type Habits = {
  readonly port?: number;
  /** Is its listener without FD_CLOEXEC? */
  readonly inherits: boolean;
  /** SO_REUSEPORT */
  readonly shared?: boolean;
  readonly hasChild?: boolean;
};

type PerlServer = { readonly script: Script; readonly port: number; readonly child: number };

async function startPerl(
  bench: Bench,
  { port, inherits, shared, hasChild }: Habits,
): Promise<PerlServer> {
  const flags = [inherits, shared ?? false, hasChild ?? true].map((isSet) => (isSet ? "1" : "0"));
  const script = await bench.script("server", ["perl", "-e", SERVER, `${port ?? 0}`, ...flags]);
  const [own = 0, child = -1] = script.first.split(" ").map(Number);
  return { script, port: own, child };
}

async function killed(script: Script): Promise<void> {
  script.kill("SIGKILL");
  await script.end;
}

/** A server that has started a child and died. `work` gets the port, and the child that lives on. */
async function afterItsDeath(
  bench: Bench,
  habits: Habits,
  work: (own: OwnSockets, server: PerlServer) => Promise<void>,
): Promise<void> {
  bench.need(hasTool("perl"), "needs perl: Node cannot leave a descriptor open by accident");
  const server = await startPerl(bench, habits);
  try {
    // Between fork() and exec() the child is still a copy of its parent, descriptors and all.
    const isApart = (): boolean => server.child < 0 || commandLine(server.child)[0] === "sleep";
    await bench.until(isApart, (apart) => apart);
    await killed(server.script);
    await withSockets((own) => work(own, server));
  } finally {
    endChild(server);
  }
}

function endChild({ child }: PerlServer): void {
  try {
    if (child > 0) process.kill(child, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Who has the listener open; undefined when nobody does. */
function holder(bench: Bench, port: number): number | undefined {
  const [listener] = rows(bench, "server", "LISTEN", port);
  return listener?.inode === undefined ? undefined : ownerOfSocket(listener.inode);
}

function holderName(bench: Bench, port: number): string {
  return commandLine(holder(bench, port) ?? 0)[0] ?? "nobody";
}

/** The errno of listen() for the next server, which sets SO_REUSEADDR as libuv always does; `none` when it listens. */
async function nextServer(own: OwnSockets, port: number): Promise<string> {
  try {
    await own.listen({ port, onLine: ({ socket }) => socket.pipe(socket) });
    return "none";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "?";
  }
}

/** Clients that call; those that get through say something. */
async function callers(own: OwnSockets, clients: number, port: number): Promise<readonly Line[]> {
  const lines = await own.dialAll(clients, { port });
  for (const { errno, socket } of lines) if (errno === "none") socket.write(HELLO);
  return lines;
}

function answered(lines: readonly Line[]): number {
  return lines.filter(({ bytes }) => bytes === HELLO.length).length;
}

const broken = {
  about: "no FD_CLOEXEC: the server dies, its child keeps the port, and clients keep coming",
  run: async (bench: Bench, { clients }: Params) => {
    const listening = bench.predict("LISTEN after the server's death", 1);
    const owner = bench.predict("its owner", "sleep", "inherited at fork(), kept at exec()");
    const errno = bench.predict("next server: listen()", "EADDRINUSE", "SO_REUSEADDR is set");
    const connected = bench.predict("clients: connect() succeeds", clients);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients, "by the kernel");
    const queued = bench.predict("in the accept queue (Recv-Q of LISTEN)", clients, "for ever");
    const answers = bench.predict("clients answered", 0);
    await afterItsDeath(bench, { inherits: true }, async (own, { port }) => {
      listening.measured(rows(bench, "server", "LISTEN", port).length);
      owner.measured(holderName(bench, port));
      errno.measured(await nextServer(own, port));
      const lines = await callers(own, clients, port);
      connected.measured(countErrno(lines, "none"));
      queued.measured(await queuedAt(bench, port, clients));
      handshakes.measured(bench.counted("TcpPassiveOpens"));
      answers.measured(answered(lines));
    });
  },
};

function queuedAt(bench: Bench, port: number, count: number): Promise<number> {
  return bench.until(
    () => rows(bench, "server", "LISTEN", port)[0]?.recvQ ?? 0,
    (queued) => queued === count,
    1_000,
  );
}

/** The port is free as soon as the server is dead; who comes before the next one is told so. */
async function freeAtOnce(bench: Bench, clients: number, habits: Habits): Promise<void> {
  const listening = bench.predict("LISTEN after the server's death", 0);
  const refused = bench.predict("clients: connect() = ECONNREFUSED", clients, "until the next one");
  const errno = bench.predict("next server: listen()", "none");
  const answers = bench.predict("clients answered then", clients);
  await afterItsDeath(bench, habits, async (own, { port }) => {
    listening.measured(rows(bench, "server", "LISTEN", port).length);
    refused.measured(countErrno(await callers(own, clients, port), "ECONNREFUSED"));
    errno.measured(await nextServer(own, port));
    answers.measured(await answersOf(bench, await callers(own, clients, port)));
  });
}

function answersOf(bench: Bench, lines: readonly Line[]): Promise<number> {
  return bench.until(
    () => answered(lines),
    (count) => count === lines.length,
    2_000,
  );
}

const control = {
  about: "the same server without a child: its death frees the port",
  run: (bench: Bench, { clients }: Params) =>
    freeAtOnce(bench, clients, { inherits: true, hasChild: false }),
};

const closeOnExec = {
  about: "FD_CLOEXEC: the child lives, the listener does not",
  run: (bench: Bench, { clients }: Params) => freeAtOnce(bench, clients, { inherits: false }),
};

const findTheHolder = {
  about: "at three in the morning: find who has the listener open, and end it",
  run: async (bench: Bench, { clients }: Params) => {
    const found = bench.predict("the holder is the child", "yes", "by the socket's inode");
    const reset = bench.predict("waiting clients: ECONNRESET", clients, "their queue dies with it");
    const errno = bench.predict("next server: listen()", "none");
    const answers = bench.predict("clients answered then", clients);
    await afterItsDeath(bench, { inherits: true }, async (own, server) => {
      const { port, child } = server;
      const waiting = await callers(own, clients, port);
      await queuedAt(bench, port, clients);
      found.measured(holder(bench, port) === child ? "yes" : "no");
      endChild(server);
      await settled(bench, 0, ["server", "LISTEN", port]);
      reset.measured(await resets(bench, waiting));
      errno.measured(await nextServer(own, port));
      answers.measured(await answersOf(bench, await callers(own, clients, port)));
    });
  },
};

function resets(bench: Bench, lines: readonly Line[]): Promise<number> {
  return bench.until(
    () => countErrno(lines, "ECONNRESET"),
    (count) => count === lines.length,
    2_000,
  );
}

const reusePort = {
  about: "SO_REUSEPORT: the next server starts, and the kernel gives the dead one its share",
  run: async (bench: Bench, { clients }: Params) => {
    const listening = bench.predict("LISTEN on one port", 2);
    const sum = bench.predict("answered, or in the dead queue", clients);
    const lost = bench.predict(
      "clients in the dead queue",
      between(1, clients - 1),
      "about half: a hash of addresses and ports decides",
    );
    const habits = { inherits: true, shared: true };
    await afterItsDeath(bench, habits, async (own, { port }) => {
      const listeners = () => rows(bench, "server", "LISTEN", port);
      const [dead] = listeners();
      const next = await startPerl(bench, { ...habits, port, hasChild: false });
      try {
        listening.measured(listeners().length);
        const lines = await callers(own, clients, port);
        // The living one has a queue, too, until it gets to run: who waits there is not lost.
        const queued = () => listeners().find(({ inode }) => inode === dead?.inode)?.recvQ ?? 0;
        const both = () => queued() + answered(lines);
        sum.measured(await bench.until(both, (count) => count === clients, 1_500));
        lost.measured(queued());
      } finally {
        await killed(next.script);
      }
    });
  },
};

export default defineLab({
  name: "inherited-listener",
  summary: "a child keeps the listening socket: EADDRINUSE after the server's death",
  tags: ["descriptors"],
  // Fewer might all fall to one of two listeners; more than the backlog of 128 would not be let in.
  params: { clients: [23, "clients", [17, 128]] },
  story: {
    see: "The server is dead, its port still listens and belongs to sleep. A restart fails with EADDRINUSE; clients connect and are never answered.",
    why:
      "Descriptors are inherited by fork() and kept by exec() unless they were opened with O_CLOEXEC or SOCK_CLOEXEC. A socket is closed when the last descriptor " +
      "that refers to it is. So a log rotator, a shell, an updater or a daemon started from the server keeps its listener open without knowing. For the kernel nothing " +
      "has happened: it completes handshakes and fills the accept queue, and when that is full it drops SYNs. Clients see no refusal, which would send them to another server, " +
      "but silence. Health checks that only connect stay green.",
    recognise: [
      ["ss -tlnp sport = :PORT", "the owner is a program that has no business there"],
      ["lsof -nP -iTCP:PORT -sTCP:LISTEN", "the same; a row for each process that has it open"],
      ["ss -tanp sport = :PORT", "ESTABLISHED without an owner: nobody has accepted these"],
      ["ls -l /proc/PID/fd; cat /proc/PID/fdinfo/N", "flags: 02000000 is O_CLOEXEC"],
    ],
    symptoms: [
      "EADDRINUSE from listen() or bind() after a crash or a restart",
      "connect() succeeds, no answer ever comes",
      "LISTEN owned by another program",
      "ESTABLISHED without an owner",
    ],
    fix: [
      "SOCK_CLOEXEC and O_CLOEXEC, always; Python (PEP 446), Go and Node do so by themselves, C and older programs do not.",
      "In the child, before exec(): close_range(3, ~0U, 0). As a supervisor: systemd's KillMode=control-group ends children too.",
      "In the emergency: ss -tlnp, then end the holder. What waits in its queue gets a RST.",
    ],
    needs: ["perl: Node cannot leave a descriptor open by accident"],
    reports: [
      "qbittorrent/qBittorrent#10312",
      "tenzir/tenzir#3998",
      "Haivision/srt#1465",
      "amule-project/amule#552",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [closeOnExec, findTheHolder],
    myth: [reusePort],
  },
});
