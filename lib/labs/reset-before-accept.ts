/**
 * reset-before-accept: accept() succeeds, and what it returns is dead already.
 *
 * A connection waits in the accept queue until the program takes it out. If the client resets it meanwhile it stays in the queue
 * all the same: Linux hands it over, accept() reports no error, and only the next system call tells. In Node the first of
 * these is getpeername(): `socket.remoteAddress` is undefined, in a handler that takes it for a string.
 *
 * WATCH   Recv-Q of the LISTEN row counts connections of which the socket table has no row
 * CAVEAT  Node accepts eagerly: the lab blocks its event loop while the clients come and go
 * SEE     inet_csk_accept() in net/ipv4/inet_connection_sock.c, tcp_reset() in net/ipv4/tcp_input.c; accept(2)
 */
import { isStopped } from "../kernel/process.ts";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { countErrno, rows, withSockets, type Line } from "../lab/network.ts";
import type { WayToLeave } from "../protocol/leave.ts";

const STAY_MS = 200;
const BLOCK_AT_MOST_MS = 5_000;
const LOOK_EVERY_MS = 10;

type Params = { readonly clients: number };

/** How the clients come and go, and when the server begins to work for one of them. */
type Plan = {
  readonly leave: WayToLeave;
  readonly stayMs: number;
  /** Is the event loop blocked until the clients have gone? */
  readonly isBusy: boolean;
  readonly beginsWith: "connection" | "address" | "data";
  /** Do the clients send a request before they go? */
  readonly asks?: boolean;
};

const GONE_BEFORE: Plan = { leave: "reset", stayMs: 0, isBusy: true, beginsWith: "connection" };

/** What a visit of all clients looked like. */
type Seen = {
  /** When the last client had gone, before the server could accept: Recv-Q of LISTEN, and rows of the server's side. */
  readonly queued: number;
  readonly existing: number;
  readonly lines: readonly Line[];
  readonly nameless: number;
  readonly begun: number;
  readonly listenerErrors: number;
};

async function visit(bench: Bench, clients: number, plan: Plan): Promise<Seen> {
  let seen: Seen | undefined;
  await withSockets(async (own) => {
    let [begun, nameless, listenerErrors] = [0, 0, 0];
    const { server, port, lines } = await own.listen({
      onLine: ({ socket }) => {
        const isDead = socket.remoteAddress === undefined;
        if (isDead) nameless += 1;
        if (plan.beginsWith === "data") socket.once("data", () => (begun += 1));
        else if (plan.beginsWith === "address" && isDead) socket.destroy();
        else begun += 1;
      },
    });
    server.on("error", () => (listenerErrors += 1));
    const program = await begin(bench, { clients, port, plan });
    const queue = () => ({
      queued: queuedAt(bench, port),
      existing: serverRows(bench, port),
      present: rows(bench, "client", "ESTABLISHED", port).length,
    });
    if (plan.isBusy)
      computeUntil(() => {
        const { queued, present } = queue();
        return queued === clients && present === 0;
      });
    const { queued, existing } = queue();
    await program.end;
    await bench.until(
      () => lines.filter(({ isClosed }) => isClosed).length,
      (over) => over === clients,
    );
    seen = { queued, existing, lines, nameless, begun, listenerErrors };
  });
  if (seen === undefined) throw new Error("nothing was seen");
  return seen;
}

/** Starts the clients. None of them has connected before the event loop turns next. */
async function begin(
  bench: Bench,
  { clients, port, plan }: { clients: number; port: number; plan: Plan },
): Promise<{ readonly end: Promise<unknown> }> {
  if (plan.asks !== true)
    return bench.start("client", [
      ...["--port", `${port}`, "--connections", `${clients}`, "--messages", "0"],
      ...["--leave", plan.leave, "--hold-ms", `${plan.stayMs}`],
    ]);
  const script = await bench.script("client", [process.execPath, "--eval", askers(clients, port)]);
  await bench.until(
    () => isStopped(script.pid),
    (hasStopped) => hasStopped,
  );
  process.kill(script.pid, "SIGCONT");
  return script;
}

/** Clients that connect, send a request, and reset. They stop before the first of them connects, and wait for SIGCONT. */
const askers = (clients: number, port: number): string => `
  console.log("ready");
  process.kill(process.pid, "SIGSTOP");
  for (let left = ${clients}; left > 0; left -= 1) {
    const socket = require("node:net").connect(${port}, "127.0.0.1");
    socket.write("request", () => socket.resetAndDestroy());
  }
`;

/** Blocks the event loop, as a long computation would. */
function computeUntil(isDone: () => boolean): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const endMs = performance.now() + BLOCK_AT_MOST_MS;
  while (!isDone() && performance.now() < endMs) Atomics.wait(cell, 0, 0, LOOK_EVERY_MS);
}

function queuedAt(bench: Bench, port: number): number {
  return rows(bench, "server", "LISTEN", port)[0]?.recvQ ?? 0;
}

function serverRows(bench: Bench, port: number): number {
  return bench.sockets().filter(({ state, local }) => local.port === port && state !== "LISTEN")
    .length;
}

/** Predictions for clients that have gone with a RST before accept(); returns how to measure them. */
function deadInTheQueue(bench: Bench, clients: number): (seen: Seen) => void {
  const queued = bench.predict("in the accept queue (Recv-Q of LISTEN)", clients);
  const existing = bench.predict("of these, still in the socket table", 0, "the RST ended them");
  const resets = bench.predict("resets (TcpEstabResets)", 2 * clients, "counted at both ends");
  const accepted = bench.predict("accept() succeeds", clients);
  const nameless = bench.predict("remoteAddress is undefined", clients, "getpeername(): ENOTCONN");
  const errno = bench.predict("read() = ECONNRESET", clients);
  return (seen) => {
    queued.measured(seen.queued);
    existing.measured(seen.existing);
    resets.measured(bench.counted("TcpEstabResets"));
    accepted.measured(seen.lines.length);
    nameless.measured(seen.nameless);
    errno.measured(countErrno(seen.lines, "ECONNRESET"));
  };
}

const broken = {
  about:
    "clients that reset while the server computes: accept() hands over the dead, without an error",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(`${clients} clients connect and reset while the server's event loop is blocked.`);
    const measure = deadInTheQueue(bench, clients);
    const begun = bench.predict("requests begun for nobody", clients, "at 'connection'");
    const seen = await visit(bench, clients, GONE_BEFORE);
    measure(seen);
    begun.measured(seen.begun);
  },
};

const control = {
  about: "the same clients leave with a FIN: they are gone as well, but one can tell who they were",
  run: async (bench: Bench, { clients }: Params) => {
    const queued = bench.predict("in the accept queue (Recv-Q of LISTEN)", clients);
    const existing = bench.predict("of these, still in the socket table", clients, "CLOSE_WAIT");
    const nameless = bench.predict("remoteAddress is undefined", 0);
    const errno = bench.predict("read() = ECONNRESET", 0);
    const ends = bench.predict("the end of the stream, read in peace", clients);
    const seen = await visit(bench, clients, { ...GONE_BEFORE, leave: "end" });
    queued.measured(seen.queued);
    existing.measured(seen.existing);
    nameless.measured(seen.nameless);
    errno.measured(countErrno(seen.lines, "ECONNRESET"));
    ends.measured(seen.lines.filter(({ hasEnded }) => hasEnded).length);
  },
};

const address = {
  about: "look at remoteAddress first: who has none is dead, and nothing is begun for him",
  run: async (bench: Bench, { clients }: Params) => {
    const queued = bench.predict("in the accept queue (Recv-Q of LISTEN)", clients);
    const nameless = bench.predict(
      "remoteAddress is undefined",
      clients,
      "getpeername(): ENOTCONN",
    );
    const begun = bench.predict("requests begun for nobody", 0);
    const seen = await visit(bench, clients, { ...GONE_BEFORE, beginsWith: "address", asks: true });
    queued.measured(seen.queued);
    nameless.measured(seen.nameless);
    begun.measured(seen.begun);
  },
};

const firstByte = {
  about: "begin with the first byte: what a client sent before its RST is handed over all the same",
  run: async (bench: Bench, { clients }: Params) => {
    const queued = bench.predict("in the accept queue (Recv-Q of LISTEN)", clients);
    const nameless = bench.predict("remoteAddress is undefined", clients);
    const begun = bench.predict("requests begun for nobody", clients, "at the first 'data'");
    const seen = await visit(bench, clients, { ...GONE_BEFORE, beginsWith: "data", asks: true });
    queued.measured(seen.queued);
    nameless.measured(seen.nameless);
    begun.measured(seen.begun);
  },
};

const acceptSooner = {
  about: "an event loop that is not blocked: accepted alive, and reset afterwards",
  run: async (bench: Bench, { clients }: Params) => {
    const accepted = bench.predict("accept() succeeds", clients);
    const nameless = bench.predict("remoteAddress is undefined", 0);
    const errno = bench.predict("read() = ECONNRESET", clients, "needs an 'error' listener still");
    const plan = { ...GONE_BEFORE, isBusy: false, stayMs: STAY_MS };
    const seen = await visit(bench, clients, plan);
    accepted.measured(seen.lines.length);
    nameless.measured(seen.nameless);
    errno.measured(countErrno(seen.lines, "ECONNRESET"));
  },
};

const atTheListener = {
  about: "an 'error' listener at the server, for ECONNABORTED from accept(): Linux does not say it",
  run: async (bench: Bench, { clients }: Params) => {
    const errors = bench.predict("errors at the listener", 0, "accept() succeeds; BSD would fail");
    const measure = deadInTheQueue(bench, clients);
    const seen = await visit(bench, clients, GONE_BEFORE);
    errors.measured(seen.listenerErrors);
    measure(seen);
  },
};

export default defineLab({
  name: "reset-before-accept",
  summary: "accept() returns connections that the client has reset already",
  tags: ["queues"],
  params: { clients: [23, "clients that connect and reset", [1, 511]] },
  story: {
    see: "23 connections are in the accept queue, none of them is in the socket table. accept() succeeds 23 times; in Node remoteAddress is undefined.",
    why:
      "The accept queue is a list of finished handshakes, and a RST does not take its connection off that list. POSIX leaves open what accept() does then: " +
      "BSD fails with ECONNABORTED, Linux succeeds and puts ECONNRESET down for the next read(). So a server that was busy for a while works off clients " +
      "that have lost patience long ago: port scanners and load balancers' health checks reset as a habit. Worse, it may do the expensive part " +
      "(a database connection, a TLS context, a log line with the client's address) before it first reads.",
    recognise: [
      ["ss -tln", "Recv-Q of the LISTEN row above the number of its connections in ss -tan"],
      [
        "strace -f -e trace=accept4,getpeername,read -p PID",
        "accept4() = 23, getpeername() = -1 ENOTCONN, read() = -1 ECONNRESET",
      ],
      [
        "nstat -az TcpEstabResets",
        "ends of connections here that went from ESTABLISHED to CLOSE at once: by a RST",
      ],
    ],
    symptoms: [
      "ECONNRESET from the first read()",
      "ENOTCONN from getpeername()",
      '"Cannot read properties of undefined" for remoteAddress',
      "Recv-Q of LISTEN above 0 without connections",
    ],
    fix: [
      "In Node: an 'error' listener on every socket, and socket.remoteAddress ?? \"unknown\" (its type says so).",
      "Ask who it is before anything else: a connection without a peer's address is over. Its first bytes prove nothing, for what was sent before the RST is handed over.",
      "Accept in time: move computations out of the event loop. On other systems: expect ECONNABORTED from accept(), and go on.",
    ],
    reports: ["haraka/Haraka#239", "emqx/esockd#9", "nodejs/node-v0.x-archive#7566"],
  },
  arms: { broken, control, fixed: [address, acceptSooner], myth: [atTheListener, firstByte] },
});
