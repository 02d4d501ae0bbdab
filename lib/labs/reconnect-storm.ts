/**
 * reconnect-storm: a server drops its clients, and all of them are back in the same millisecond. Most do not get in.
 *
 * What a server can serve in a second it cannot serve at once: the accept queue holds backlog + 1, the rest of the SYNs are dropped.
 * Clients that give up and try again after the same pause stay together: the herd returns, as large as before less the few that
 * were let in. A random pause turns the herd into a stream, and the same server has no trouble with it.
 *
 * WATCH   ListenOverflows in bursts; SYN_SENT at the clients; attempts per client
 * CAVEAT  the lab's server needs 5 ms for each connection, as for a TLS handshake: a stand-in for work, the processor is idle
 * SEE     RFC 9293 section 3.8.1; "Exponential Backoff And Jitter" (AWS Architecture Blog); accept-queue-overflow
 */
import { connect, type Socket } from "node:net";
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows } from "../lab/network.ts";
import type { Script } from "../lab/program.ts";
import { backoffMs } from "../protocol/json/backoff.ts";

const SMALL_BACKLOG = 8;
const LARGE_BACKLOG = 128;
const WORK_MS = 5;
const PATIENCE_MS = 250;
const PAUSE_MS = 100;
const SPREAD_MS = 1_000;
const WATCH_MS = 1_400;

type Params = { readonly clients: number };

/** Takes its time for each connection, and drops all of them when it is told to. */
const SERVER = `
const [port, backlog, workMs] = process.argv.slice(1).map(Number);
const cell = new Int32Array(new SharedArrayBuffer(4));
const sockets = new Set();
const server = require("node:net").createServer((socket) => {
  Atomics.wait(cell, 0, 0, workMs);
  sockets.add(socket.resume().on("error", () => {}).on("close", () => sockets.delete(socket)));
});
process.on("SIGUSR2", () => sockets.forEach((socket) => socket.resetAndDestroy()));
server.listen({ port, backlog, host: "127.0.0.1" }, () => console.log(server.address().port));
`;

/** Milliseconds before the next attempt, after so many that have failed. */
type Policy = (failed: number) => number;

const samePause: Policy = () => PAUSE_MS;
const doubledPause: Policy = (failed) => PAUSE_MS * 2 ** failed;
/** What the client of our protocol does. */
const jitter: Policy = (failed) => backoffMs(failed, { baseMs: SPREAD_MS, capMs: 30_000 });

async function startServer(
  bench: Bench,
  backlog: number,
): Promise<{ script: Script; port: number }> {
  const node = [process.execPath, "-e", SERVER, "0", `${backlog}`, `${WORK_MS}`];
  const script = await bench.script("server", node);
  return { script, port: Number(script.first) };
}

/** A client that comes back whenever it is dropped, until it is told to stop. */
class Client {
  readonly #port: number;
  readonly #policy: Policy;
  #socket: Socket | undefined;
  #waiting: NodeJS.Timeout | undefined;
  #failed = 0;
  /** Connections asked for, and those that came about. */
  attempts = 0;
  connects = 0;

  constructor(port: number, policy: Policy) {
    this.#port = port;
    this.#policy = policy;
  }

  dial(): void {
    const socket = connect({ port: this.#port, host: "127.0.0.1" });
    const giveUp = setTimeout(() => socket.destroy(), PATIENCE_MS);
    this.#socket = socket;
    this.attempts += 1;
    socket
      .on("connect", () => {
        clearTimeout(giveUp);
        this.connects += 1;
        this.#failed = 0;
      })
      .on("error", () => undefined)
      .on("close", () => {
        clearTimeout(giveUp);
        this.#waiting = setTimeout(() => this.dial(), this.#policy(this.#failed));
        this.#failed += 1;
      });
  }

  stop(): void {
    this.#socket?.removeAllListeners("close").destroy();
    clearTimeout(this.#waiting);
  }
}

/** Connects clients a few at a time, never more than the smallest queue holds. */
async function dialInPeace(bench: Bench, port: number, clients: readonly Client[]): Promise<void> {
  for (let first = 0; first < clients.length; first += SMALL_BACKLOG) {
    const group = clients.slice(first, first + SMALL_BACKLOG);
    for (const client of group) client.dial();
    await bench.until(
      () => group.every(({ connects }) => connects > 0) && queuedAt(bench, port) === 0,
      (areIn) => areIn,
    );
  }
}

/** What came of the return of all clients. */
type Storm = {
  readonly attempts: number;
  /** Those of the client that needed most. */
  readonly most: number;
  readonly back: number;
  readonly stuck: number;
};

type Plan = { readonly backlog: number; readonly policy: Policy; readonly watchMs: number };

/** Connects all clients one after the other, has the server drop them together, and watches them come back. */
async function storm(
  bench: Bench,
  count: number,
  { backlog, policy, watchMs }: Plan,
): Promise<Storm> {
  const server = await startServer(bench, backlog);
  const clients = Array.from({ length: count }, () => new Client(server.port, policy));
  const total = (of: "attempts" | "connects"): number =>
    clients.reduce((sum, client) => sum + client[of], 0);
  try {
    await dialInPeace(bench, server.port, clients);
    server.script.kill("SIGUSR2");
    const stuck = await bench.until(
      () => rows(bench, "client", "SYN_SENT", server.port).length,
      (seen) => seen > count / 2,
      WATCH_MS / 4,
    );
    const back = await bench.until(
      () => total("connects") - count,
      (seen) => seen === count,
      watchMs,
    );
    const most = Math.max(...clients.map(({ attempts }) => attempts - 1));
    return { attempts: total("attempts") - count, most, back, stuck };
  } finally {
    for (const client of clients) client.stop();
    server.script.kill("SIGKILL");
  }
}

function queuedAt(bench: Bench, port: number): number {
  return rows(bench, "server", "LISTEN", port)[0]?.recvQ ?? 0;
}

/** The herd stays together, whatever the pause. Returns the attempts of the client that needed most. */
async function herd(bench: Bench, { clients }: Params, policy: Policy): Promise<number> {
  const most = Math.floor(clients / 2);
  const because = `of ${clients} at once ${SMALL_BACKLOG + 1} fit; the server takes out one each ${WORK_MS} ms`;
  bench.say(
    `The server drops ${clients} clients at once. It could accept all of them within ${clients * WORK_MS} ms.`,
  );
  const stuck = bench.predict("SYN_SENT at the same time", atLeast(most), because);
  const dropped = bench.predict("SYNs dropped (ListenOverflows)", atLeast(most), "the same");
  const attempts = bench.predict(
    "attempts to come back",
    atLeast(clients + most),
    `each gives up after ${PATIENCE_MS} ms and tries again`,
  );
  const seen = await storm(bench, clients, { backlog: SMALL_BACKLOG, policy, watchMs: WATCH_MS });
  stuck.measured(seen.stuck);
  dropped.measured(bench.counted("TcpExtListenOverflows"));
  attempts.measured(seen.attempts);
  return seen.most;
}

/** Every client is back with one attempt, or nearly so. */
async function stream(bench: Bench, { clients }: Params, plan: Plan): Promise<void> {
  const few = Math.ceil(clients / 6);
  const back = bench.predict("clients back", clients);
  const attempts = bench.predict(
    "attempts to come back",
    between(clients, clients + few),
    "one each; chance may put a few too close together",
  );
  const dropped = bench.predict("SYNs dropped (ListenOverflows)", atMost(few), "the same");
  const seen = await storm(bench, clients, plan);
  back.measured(seen.back);
  attempts.measured(seen.attempts);
  dropped.measured(bench.counted("TcpExtListenOverflows"));
}

const broken = {
  about: "all clients come back after the same pause: they meet again each time",
  run: async (bench: Bench, params: Params) => {
    await herd(bench, params, samePause);
  },
};

const control = {
  about: "the same clients and the same server on an ordinary day: nobody drops them",
  run: async (bench: Bench, { clients }: Params) => {
    const connected = bench.predict("clients connected", clients);
    const dropped = bench.predict("SYNs dropped (ListenOverflows)", 0);
    const server = await startServer(bench, SMALL_BACKLOG);
    const own = Array.from({ length: clients }, () => new Client(server.port, samePause));
    try {
      await dialInPeace(bench, server.port, own);
      connected.measured(rows(bench, "client", "ESTABLISHED", server.port).length);
      dropped.measured(bench.counted("TcpExtListenOverflows"));
    } finally {
      for (const client of own) client.stop();
      server.script.kill("SIGKILL");
    }
  },
};

const withJitter = {
  about: `a random pause of up to ${SPREAD_MS} ms: a stream that the same small queue can hold`,
  run: (bench: Bench, params: Params) =>
    stream(bench, params, { backlog: SMALL_BACKLOG, policy: jitter, watchMs: 5 * SPREAD_MS }),
};

const largerBacklog = {
  about: "a backlog for all of them: the herd waits inside, as long as there is room",
  run: (bench: Bench, params: Params) =>
    stream(bench, params, { backlog: LARGE_BACKLOG, policy: samePause, watchMs: 5 * SPREAD_MS }),
};

const withoutJitter = {
  about: "exponential back-off without jitter: the same herd, only less often",
  run: async (bench: Bench, params: Params) => {
    const because = `pauses of ${PAUSE_MS}, ${2 * PAUSE_MS} and ${4 * PAUSE_MS} ms; with the same pause it is one more`;
    const rounds = bench.predict("attempts of one client", atMost(3), because);
    rounds.measured(await herd(bench, params, doubledPause));
  },
};

export default defineLab({
  name: "reconnect-storm",
  summary: "dropped clients come back all at once, and keep each other out",
  tags: ["handshakes", "queues"],
  params: { clients: [67, "clients", [23, LARGE_BACKLOG]] },
  story: {
    see: "A server that can accept 67 clients in a third of a second drops most of their SYNs, and drops them again when they return together.",
    why:
      "A deploy, a crash or a balancer's restart ends all connections in the same instant, and every client reacts with the same code: pause, connect. For the kernel " +
      "that is one burst. The accept queue takes backlog + 1, further SYNs are dropped without a word, and the clients run into their own time-outs together. " +
      "Whoever does not get in spends the server's time, too: half-done handshakes, TLS, log-ins that are abandoned. So the storm feeds itself, " +
      "although the load of a minute would be no problem. Exponential pauses alone keep all clients in step; chance is what pulls them apart.",
    recognise: [
      [
        "nstat TcpExtListenOverflows TcpExtListenDrops",
        "jumps of the size of the fleet, at regular intervals",
      ],
      ["ss -tln", "Recv-Q at its limit for moments, 0 between them"],
      [
        "nstat -az TcpActiveOpens TcpPassiveOpens",
        "attempts, at the clients; connections, at the server: many more of the first",
      ],
      ["tcp-states --watch", "SYN_SENT that comes and goes in waves"],
    ],
    symptoms: [
      "TcpExtListenOverflows in bursts after a restart",
      "SYN_SENT in waves",
      "a service that does not come up under load, and does when half of its clients are switched off",
      "connect() time-outs although the server is idle most of the time",
    ],
    fix: [
      "A random pause before the first attempt, too (full jitter); in Node: setTimeout(connect, Math.random() * Math.min(cap, base * 2 ** attempt)).",
      "A larger backlog and somaxconn take up the burst; a token bucket or concurrency limit in front of expensive log-ins.",
      "Drop clients slowly: drain a server over minutes, close each connection at a random time of its own.",
    ],
    reports: [
      "gravitational/teleport#6889",
      "rails/rails#40229",
      "jenkinsci/swarm-plugin#163",
      "nats-io/nats.go#563",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [withJitter, largerBacklog],
    myth: [withoutJitter],
  },
});
