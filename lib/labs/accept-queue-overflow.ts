/**
 * accept-queue-overflow: the program does not call accept(), the queue is full, and the kernel drops SYNs without a word.
 *
 * The kernel completes handshakes by itself and queues them until accept(2) takes them out. The queue has room for
 * min(backlog, somaxconn) + 1. Once it is full each further SYN is dropped: no RST, no error. The client's kernel repeats
 * the SYN after 1 s at the earliest, so that a server which was busy for a moment shows as connects that take whole seconds.
 *
 * WATCH   Recv-Q of the LISTEN row above Send-Q; SYN_SENT at the clients; ListenOverflows and ListenDrops
 * CAVEAT  Node accepts eagerly: its queue fills only while its event loop is blocked (here by a long computation)
 * SEE     sk_acceptq_is_full() in include/net/sock.h, tcp_conn_request() in net/ipv4/tcp_input.c; listen(2)
 */
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { countErrno, withSockets, type Line, type OwnSockets } from "../lab/network.ts";
import type { ListenerView } from "../sockets/listener.ts";

const SMALL_BACKLOG = 8;
const LARGE_BACKLOG = 128;
const BLOCK_MS = 900;
const SYN_RETRY_MS = 1_000;

type Params = { readonly clients: number };

/** A server that accepts one connection and then blocks its event loop for a while. */
async function blockedServer(
  bench: Bench,
  own: OwnSockets,
  backlog: number,
  blockMs: number,
): Promise<number> {
  const { port } = await bench.server([
    ...["--backlog", `${backlog}`],
    ...["--block-after", "1", "--block-ms", `${blockMs}`],
  ]);
  await own.dial({ port });
  // Blocked from the moment that the first connection is out of the queue.
  await firstAccepted(bench);
  return port;
}

/** A server that is stopped after its first connection: in the middle of anything, and for as long as somebody likes. */
async function stoppedServer(bench: Bench, own: OwnSockets, backlog: number): Promise<number> {
  const { port, pid } = await bench.server(["--backlog", `${backlog}`]);
  await own.dial({ port });
  await firstAccepted(bench);
  await bench.suspend(pid);
  return port;
}

function firstAccepted(bench: Bench): Promise<ListenerView> {
  return bench.until(
    () => bench.view(),
    ({ server, queued }) => server.ESTABLISHED === 1 && queued === 0,
  );
}

/** Waits until every client is either through its handshake or known to be stuck. */
function atRest(bench: Bench, expected: ListenerView["clients"]["ESTABLISHED"], clients: number) {
  return bench.until(
    () => bench.view(),
    (view) =>
      view.clients.ESTABLISHED === expected + 1 &&
      view.clients.SYN_SENT === clients - expected &&
      view.server.SYN_RECV === 0,
    SYN_RETRY_MS / 2,
  );
}

/** Many clients against a blocked server, or without `blockMs` a stopped one: as many get in as the queue has room for. */
async function overflow(
  bench: Bench,
  own: OwnSockets,
  { clients, backlog, blockMs }: { clients: number; backlog: number; blockMs?: number },
): Promise<{ readonly dials: readonly Promise<Line>[] }> {
  const room = SMALL_BACKLOG + 1;
  const stuck = clients - room;
  bench.need(stuck > 0, `${clients} clients fit into the queue`);
  const port = await (blockMs === undefined
    ? stoppedServer(bench, own, backlog)
    : blockedServer(bench, own, backlog, blockMs));
  const what = blockMs === undefined ? "is stopped" : `computes for ${blockMs} ms`;
  bench.say(`The server has accepted one connection and ${what}. ${clients} more come.`);
  const queued = bench.predict("in the accept queue (Recv-Q)", room, "min(backlog, somaxconn) + 1");
  const waiting = bench.predict("SYN_SENT, client's side", stuck, "clients - queue");
  const dropped = bench.predict("SYNs dropped (ListenOverflows)", stuck);
  const drops = bench.predict("the same in ListenDrops", stuck);
  const refused = bench.predict("RSTs sent (TcpOutRsts)", 0, "it says nothing");
  const dials = Array.from({ length: clients }, () => own.dial({ port }));
  const view = await atRest(bench, room, clients);
  const repeated = {
    counter: "TcpExtTCPSynRetrans",
    value: bench.counted("TcpExtTCPSynRetrans"),
    because: "SYNs that were repeated and dropped again",
  };
  queued.measured(view.queued);
  waiting.measured(view.clients.SYN_SENT);
  dropped.measured(bench.counted("TcpExtListenOverflows"), repeated);
  drops.measured(bench.counted("TcpExtListenDrops"), repeated);
  refused.measured(bench.counted("TcpOutRsts"));
  return { dials };
}

function slowOnes(lines: readonly Line[]): number {
  // The kernel's timers count in ticks of its own clock: a hair less than a second is a second.
  return lines.filter(({ connectMs }) => connectMs > SYN_RETRY_MS * 0.95).length;
}

/** As many clients against a server that is just as busy, but has room for them. */
async function fitsIn(bench: Bench, clients: number, backlog: number): Promise<void> {
  await withSockets(async (own) => {
    const port = await blockedServer(bench, own, backlog, BLOCK_MS);
    const queued = bench.predict("in the accept queue (Recv-Q)", clients);
    const waiting = bench.predict("SYN_SENT, client's side", 0);
    const dropped = bench.predict("SYNs dropped (ListenOverflows)", 0);
    const slow = bench.predict(`connects slower than ${SYN_RETRY_MS} ms`, 0);
    const answered = bench.predict("clients answered afterwards", clients);
    const lines = await Promise.all(Array.from({ length: clients }, () => own.dial({ port })));
    for (const { socket } of lines) socket.write("hello");
    const view = await bench.until(
      () => bench.view(),
      (now) => now.queued === clients,
      BLOCK_MS / 3,
    );
    queued.measured(view.queued);
    waiting.measured(view.clients.SYN_SENT);
    dropped.measured(bench.counted("TcpExtListenOverflows"));
    slow.measured(slowOnes(lines));
    const isAnswered = ({ bytes }: Line): boolean => bytes === "hello".length;
    await bench.until(
      () => lines.every(isAnswered),
      (all) => all,
    );
    answered.measured(lines.filter(isAnswered).length);
  });
}

function backlogLimit(bench: Bench, somaxconn: number): void {
  bench.sysctl("net.core.somaxconn", somaxconn);
}

const broken = {
  about: "a backlog of 8 and a blocked event loop: 9 get in, the rest wait in SYN_SENT",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      backlogLimit(bench, SMALL_BACKLOG);
      const slow = bench.predict(
        `connects slower than ${SYN_RETRY_MS} ms`,
        clients - SMALL_BACKLOG - 1,
        "the first repetition of a SYN comes after 1 s",
      );
      const errors = bench.predict("clients that see an error", 0);
      const world = { clients, backlog: SMALL_BACKLOG, blockMs: BLOCK_MS };
      const { dials } = await overflow(bench, own, world);
      const lines = await Promise.all(dials);
      slow.measured(slowOnes(lines));
      errors.measured(lines.filter(({ errno }) => errno !== "none").length);
    }),
};

/** The same failure in spite of good advice. */
function inSpite(bench: Bench, clients: number, backlog: number): Promise<void> {
  return withSockets(async (own) => {
    await overflow(bench, own, { clients, backlog, blockMs: BLOCK_MS });
  });
}

const control = {
  about: "just as busy, and no more clients than the queue has room for: backlog + 1",
  run: (bench: Bench) => {
    backlogLimit(bench, SMALL_BACKLOG);
    return fitsIn(bench, SMALL_BACKLOG + 1, SMALL_BACKLOG);
  },
};

const larger = {
  about: "a larger backlog and a larger somaxconn: all of them wait inside",
  run: (bench: Bench, { clients }: Params) => {
    backlogLimit(bench, SMALL_BACKLOG); // As in the broken arm; and now the cure.
    backlogLimit(bench, LARGE_BACKLOG);
    return fitsIn(bench, clients, LARGE_BACKLOG);
  },
};

const backlogAlone = {
  about: "a larger backlog alone: listen(2) cuts it down to somaxconn, silently",
  run: (bench: Bench, { clients }: Params) => {
    backlogLimit(bench, SMALL_BACKLOG);
    return inSpite(bench, clients, LARGE_BACKLOG);
  },
};

const abortOnOverflow = {
  about: "tcp_abort_on_overflow=1: it is about the last ACK; a SYN is dropped all the same",
  run: (bench: Bench, { clients }: Params) => {
    backlogLimit(bench, SMALL_BACKLOG);
    bench.sysctl("net.ipv4.tcp_abort_on_overflow", 1);
    return inSpite(bench, clients, SMALL_BACKLOG);
  },
};

const stopped = {
  about:
    "'nobody gets an error': true of a moment; of a stopped process (SIGSTOP) the queue stays full, and connect() times out",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      backlogLimit(bench, SMALL_BACKLOG);
      bench.sysctl("net.ipv4.tcp_syn_retries", 1);
      bench.sysctlIfPresent("net.ipv4.tcp_syn_linear_timeouts", 0);
      const room = SMALL_BACKLOG + 1;
      const gaveUp = bench.predict(
        "clients that see ETIMEDOUT",
        clients - room,
        "after 1 + 2 s; by default after two minutes",
      );
      const connected = bench.predict("clients that are connected, and wait on", room);
      const { dials } = await overflow(bench, own, { clients, backlog: SMALL_BACKLOG });
      const lines = await Promise.all(dials);
      gaveUp.measured(countErrno(lines, "ETIMEDOUT"));
      connected.measured(countErrno(lines, "none"));
    }),
};

export default defineLab({
  name: "accept-queue-overflow",
  summary: "a full accept queue drops SYNs: connects take whole seconds, or time out",
  tags: ["queues"],
  params: { clients: [40, "clients that come while the server is blocked", [10, 128]] },
  story: {
    see: "9 of 40 clients are connected at once, although the server has accepted none of them; the others take a second or more.",
    why:
      "Handshakes are the kernel's business: it answers SYNs and queues finished connections until accept() fetches them. The queue holds " +
      "min(backlog, net.core.somaxconn) + 1. When it is full the kernel drops further SYNs, in the hope that there is room when they are " +
      "repeated: 1, 2, 3, 4, 5, 7 ... s after the first (before Linux 6.5: 1, 3, 7 ... s). A server that is blocked for 50 ms under load thus shows as latencies of these seconds. Where the queue stays full, connect() ends with " +
      "ETIMEDOUT: after two minutes, or after whatever time-out the client has of its own.",
    recognise: [
      [
        "ss -tln",
        "LISTEN rows: Recv-Q is what waits, Send-Q what is allowed; Recv-Q above Send-Q is full",
      ],
      [
        "nstat -az TcpExtListenOverflows TcpExtListenDrops",
        "SYNs dropped since boot; both move together",
      ],
      ["ss -tan state syn-sent", "at the client: connections that wait for their next SYN"],
      ["nstat -az TcpExtTCPSynRetrans", "at the client: SYNs that had to be repeated"],
    ],
    symptoms: [
      "connect() takes whole seconds: 1, 2, 3 ... (before Linux 6.5: 1, 3, 7 ...)",
      "ETIMEDOUT from connect()",
      '"upstream timed out (110: Connection timed out) while connecting to upstream" in nginx\'s log',
      '"dial tcp ...: i/o timeout" in a log (Go)',
      "many SYN_SENT on the client's side",
      "TcpExtListenOverflows and TcpExtListenDrops rise",
      "Recv-Q of a LISTEN row above its Send-Q",
    ],
    fix: [
      "Accept sooner: do not block the event loop; more processes (cluster), worker threads for computations.",
      "server.listen({ backlog }) and net.core.somaxconn: both, for the smaller one counts (4096 since Linux 5.4, Node asks for 511).",
      "Let clients time out and retry with jitter; a larger queue only hides a server that is too slow for good.",
    ],
    reports: [
      "netdata/netdata#2855",
      "envoyproxy/envoy#9501",
      "websockets/ws#794",
      "Shopify/toxiproxy#72",
    ],
  },
  arms: { broken, control, fixed: [larger], myth: [backlogAlone, abortOnOverflow, stopped] },
});
