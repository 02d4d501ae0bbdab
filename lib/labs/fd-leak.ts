/**
 * fd-leak: a server that never closes runs out of descriptors, and Node does not say so.
 *
 * Each connection that the peer has closed stays in CLOSE_WAIT until the program closes it too. When the limit on
 * descriptors is reached, accept4() fails with EMFILE. libuv then gives up a reserve descriptor, accepts what waits and
 * closes it at once: the clients see a connection and a clean end, the program sees nothing at all.
 *
 * WATCH   CLOSE_WAIT on the server's side climbs to the limit less what was open before, and stays
 * CAVEAT  Node raises the soft limit to the hard one at its start, so the lab lowers the hard one
 * NEEDS   strace for one claim; without it that claim is left out, and the result says so
 * SEE     uv__emfile_trick() in libuv's src/unix/stream.c; tcp_fin() in net/ipv4/tcp_input.c
 */
import { freeDescriptors } from "../kernel/process.ts";
import { hasTool, needTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import type { VisitsSummary } from "../protocol/visits.ts";
import type { SocketRecord } from "../sockets/record.ts";

const FIN_TIMEOUT_S = 1;
const OWNED = 23;
/** Whoever is cut off leaves at once: only a claim that fails takes so long. */
const WATCH_MS = 5_000;
/** Long enough for a whole wave to be served on a busy machine. */
const IDLE_MS = 1_000;

type Params = { readonly limit: number; readonly clients: number };

function limited(limit: number): readonly string[] {
  needTool("prlimit", "util-linux");
  return ["prlimit", `--nofile=${limit}:${limit}`];
}

/** FIN_WAIT2 rows of the clients, with and without a process that owns them: a socket that was closed has no inode. */
function finWait2(bench: Bench): { owned: number; orphaned: number } {
  const rows = bench
    .sockets()
    .filter((row: SocketRecord) => row.state === "FIN_WAIT2" && row.remote.port === bench.port());
  const orphaned = rows.filter(({ inode }) => inode === 0).length;
  return { owned: rows.length - orphaned, orphaned };
}

function visitors(count: number, leave: string, more: readonly string[] = []): readonly string[] {
  return ["--connections", `${count}`, "--messages", "0", "--leave", leave, ...more];
}

/** Evidence from outside: what accept4() really returned. -D makes strace a grandchild, so that the server keeps its pid. */
const STRACE = ["strace", "-D", "-f", "-e", "trace=accept4"];

/** How the clients of the broken arm are divided: all that the server can hold, and those that come after. */
type Crowd = { readonly ceiling: number; readonly shed: number };

/** Fills the server with clients that leave at once, in the two ways that keep FIN_WAIT2 waiting. */
async function fill(bench: Bench, { ceiling }: Crowd, limit: number): Promise<void> {
  const because = `limit ${limit} - ${limit - ceiling} open before`;
  const closeWait = bench.predict("CLOSE_WAIT, server's side", ceiling, because);
  const owned = bench.predict(
    "FIN_WAIT2 of clients that half-closed (owned)",
    OWNED,
    `${OWNED} of the clients half-close`,
  );
  const orphaned = bench.predict(
    "FIN_WAIT2 of clients that closed (ownerless)",
    ceiling - OWNED,
    `${ceiling} - ${OWNED}`,
  );
  bench.start("client", visitors(OWNED, "half-close"));
  await bench.until(
    () => finWait2(bench).owned,
    (count) => count === OWNED,
  );
  await bench.run("client", visitors(ceiling - OWNED, "end"));
  const view = await bench.until(
    () => bench.view(),
    ({ server }) => server.CLOSE_WAIT === ceiling,
  );
  // The server has the FIN a moment before the client has its ACK: until then that end is in FIN_WAIT1.
  const waiting = await bench.until(
    () => finWait2(bench),
    ({ orphaned: count }) => count === ceiling - OWNED,
  );
  closeWait.measured(view.server.CLOSE_WAIT);
  owned.measured(waiting.owned);
  orphaned.measured(waiting.orphaned);
}

/** Clients that come when no descriptor is left, and wait for what happens. */
async function overfill(bench: Bench, { shed }: Crowd): Promise<void> {
  const cut = bench.predict(
    "later clients that see a clean end, no echo",
    shed,
    "accepted and closed by libuv",
  );
  const errors = bench.predict("later clients that see an error", 0);
  const late = await bench.run<VisitsSummary>(
    "client",
    visitors(shed, "end", ["--hold-ms", `${WATCH_MS}`]),
  );
  cut.measured(late.peerClosed);
  errors.measured(Object.values(late.failures).reduce((sum, { count }) => sum + count, 0));
}

function unseenByServer(count: number): [string, number, string] {
  return ["handshakes that the program never saw", count, "TcpPassiveOpens - accepted"];
}

/** Lets tcp_fin_timeout pass: it ends what has no owner, and nothing else. */
async function outwait(bench: Bench, { ceiling }: Crowd): Promise<void> {
  const because = `${FIN_TIMEOUT_S} s here; the default is 60 s`;
  const gone = bench.predict("ownerless FIN_WAIT2 after tcp_fin_timeout", 0, because);
  const stays = bench.predict(
    "CLOSE_WAIT after that",
    ceiling,
    "no timer ends CLOSE_WAIT: only close() does",
  );
  const left = await bench.until(
    () => finWait2(bench).orphaned,
    (count) => count === 0,
  );
  gone.measured(left);
  const { server } = bench.view();
  // Counted after the look: no reset that it has seen is left out.
  stays.measured(server.CLOSE_WAIT, orphanResets(bench));
}

/**
 * An orphan in FIN_WAIT2 normally becomes a small stand-in that ends without a word. But when the ACK of its FIN arrives while close()
 * still holds the socket, on another core, it stays a full socket, and its timer ends it with a RST: that ends the CLOSE_WAIT, too.
 * Source: tcp_rcv_state_process() case TCP_FIN_WAIT1, sock_owned_by_user(); tcp_keepalive_timer().
 */
function orphanResets(bench: Bench): { counter: string; value: number; because: string } {
  return {
    counter: "TcpOutRsts",
    value: bench.counted("TcpOutRsts"),
    because:
      "orphans whose FIN was acknowledged while close() was at work: their timer sends a RST",
  };
}

const broken = {
  about: "LEAK=true under a hard limit: CLOSE_WAIT until EMFILE, in silence",
  run: async (bench: Bench, { limit, clients }: Params) => {
    bench.sysctl("net.ipv4.tcp_fin_timeout", FIN_TIMEOUT_S);
    const hasStrace = hasTool("strace");
    const through = [...(hasStrace ? STRACE : []), ...limited(limit)];
    const server = await bench.server(["--leak"], { through });
    const ceiling = await bench.room(server.pid, limit);
    const crowd = { ceiling, shed: clients - ceiling };
    bench.need(
      ceiling > OWNED && crowd.shed > 0,
      `a limit of ${limit} and ${clients} clients show nothing`,
    );
    bench.say(
      `The server may have ${limit} descriptors: room for ${ceiling} of ${clients} clients.`,
    );
    await fill(bench, crowd, limit);
    const unseen = bench.predict(...unseenByServer(crowd.shed));
    const emfile = hasStrace
      ? bench.predict(
          "accept4() = EMFILE, seen by strace",
          atLeast(1),
          "one for each burst that libuv sheds",
        )
      : undefined;
    await overfill(bench, crowd);
    await outwait(bench, crowd);
    const summary = await server.stop();
    unseen.measured(bench.counted("TcpPassiveOpens") - summary.accepted);
    const calls = (await server.said).split("\n").filter((line) => line.includes("accept4("));
    emfile?.measured(calls.filter((line) => line.includes("EMFILE")).length);
    if (!hasStrace)
      bench.note("strace is not installed: accept4() = EMFILE is not shown, only its consequences");
  },
};

/** Two waves of clients, each as large as the server can hold at once. */
async function twoWaves(
  bench: Bench,
  limit: number,
  serverFlags: readonly string[],
): Promise<void> {
  const server = await bench.server(serverFlags, { through: limited(limit) });
  const ceiling = await bench.room(server.pid, limit);
  bench.say(`Two waves of ${ceiling} clients: twice as many as the server can hold at once.`);
  const served = bench.predict("clients served", 2 * ceiling);
  const closeWait = bench.predict("CLOSE_WAIT after each wave", 0);
  const shed = bench.predict(...unseenByServer(0));
  let left = 0;
  let remaining = 0;
  for (let wave = 0; wave < 2; wave += 1) {
    left += (await bench.run<VisitsSummary>("client", ["--connections", `${ceiling}`])).left;
    const isEmpty = (): boolean => freeDescriptors(server.pid, limit) === ceiling;
    await bench.until(isEmpty, (empty) => empty);
    remaining += bench.view().server.CLOSE_WAIT;
  }
  served.measured(left);
  closeWait.measured(remaining);
  const { accepted } = await server.stop();
  shed.measured(bench.counted("TcpPassiveOpens") - accepted);
}

const control = {
  about: "the same leak, but the clients stay: as many are shed, and nothing is in CLOSE_WAIT",
  run: async (bench: Bench, { limit, clients }: Params) => {
    const server = await bench.server(["--leak"], { through: limited(limit) });
    const ceiling = await bench.room(server.pid, limit);
    bench.need(clients > ceiling, `a limit of ${limit} and ${clients} clients show nothing`);
    const established = bench.predict(
      "ESTABLISHED on the server's side",
      ceiling,
      "every descriptor is in use",
    );
    const closeWait = bench.predict("CLOSE_WAIT on the server's side", 0, "nobody has closed");
    const shed = bench.predict(...unseenByServer(clients - ceiling));
    bench.start("client", visitors(clients, "abandon"));
    const view = await bench.until(
      () => bench.view(),
      // A handshake is the kernel's work; the program has yet to accept it, or libuv to shed it.
      (now) =>
        now.server.ESTABLISHED === ceiling &&
        now.queued === 0 &&
        bench.counted("TcpPassiveOpens") === clients,
    );
    established.measured(view.server.ESTABLISHED);
    closeWait.measured(view.server.CLOSE_WAIT);
    const { accepted } = await server.stop();
    shed.measured(bench.counted("TcpPassiveOpens") - accepted);
  },
};

const closeOnEnd = {
  about: "close when the peer closes (socket.end() on 'end')",
  run: (bench: Bench, { limit }: Params) => twoWaves(bench, limit, []),
};

const idleTimeout = {
  about: "an idle timeout: the leak is still there, but it is swept up (socket.setTimeout)",
  run: (bench: Bench, { limit }: Params) =>
    twoWaves(bench, limit, ["--leak", "--idle-timeout-ms", `${IDLE_MS}`]),
};

const higherLimit = {
  about: "twice the limit: twice as many leak, and the rest is as before",
  run: async (bench: Bench, { limit }: Params) => {
    const server = await bench.server(["--leak"], { through: limited(2 * limit) });
    const crowd = { ceiling: await bench.room(server.pid, 2 * limit), shed: OWNED };
    bench.need(crowd.ceiling > OWNED, `a limit of ${2 * limit} shows nothing`);
    await fill(bench, crowd, 2 * limit);
    await overfill(bench, crowd);
  },
};

export default defineLab({
  name: "fd-leak",
  summary: "a server that never closes runs out of descriptors, in silence",
  tags: ["descriptors", "closing"],
  params: {
    // With fewer Node does not start; more clients than that do not all get their turn within the idle timeout.
    limit: [128, "hard limit on descriptors of the server", [64, 256]],
    clients: [300, "clients in all"],
  },
  story: {
    see: "CLOSE_WAIT climbs to the descriptor limit. Later clients connect and are cut off at once; the server logs nothing.",
    why:
      "CLOSE_WAIT means: the peer has sent its FIN, and the local program has not called close(). No timer ends it, for only the program " +
      "can know that it is done. At the limit accept4() fails with EMFILE; libuv accepts and closes what waits, so that it does not " +
      "spin, and emits no event. The peer of each leaked socket waits in FIN_WAIT2: for tcp_fin_timeout when its program has closed, " +
      "for ever when it has only half-closed.",
    recognise: [
      ["tcp-states --by process", "one process with many CLOSE_WAIT"],
      ["lsof -nP -a -p PID -iTCP -sTCP:CLOSE_WAIT", "the descriptors that were not closed"],
      [
        "ls /proc/PID/fd | wc -l; grep 'open files' /proc/PID/limits",
        "how close to the limit it is",
      ],
      ["strace -f -e trace=accept4 -p PID", "accept4() = -1 EMFILE"],
    ],
    symptoms: [
      "many CLOSE_WAIT",
      "EMFILE from accept()",
      "FIN_WAIT2 on the client's side",
      "connections that end at once, without an answer",
      "TcpPassiveOpens rises faster than the program's own count",
      '"upstream prematurely closed connection" in nginx\'s log',
    ],
    fix: [
      "Close on every path: on 'end', on 'error', on timeouts. In Node allowHalfOpen is false by default, which does it for you as long as you read: while anything is unread, or the socket is paused, 'end' does not come, and CLOSE_WAIT stays. resume() what you do not want.",
      "socket.setTimeout() with destroy() as a safety net; server.maxConnections below the limit: clients are cut off all the same, but a 'drop' event tells of each.",
      "Watch descriptors against the limit, not CLOSE_WAIT alone (hidden-leak shows why): Node will not tell you. A higher limit only makes it a later day.",
    ],
    needs: ["strace, for one claim; without it that claim is left out, and the result says so"],
    reports: ["http-kit/http-kit#326", "sockjs/sockjs-node#99", "joyent/libuv#690"],
  },
  arms: { broken, control, fixed: [closeOnEnd, idleTimeout], myth: [higherLimit] },
});
