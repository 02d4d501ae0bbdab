/**
 * stale-keep-alive: the pooled connection that the server is just closing. The race behind many a 502.
 *
 * A client keeps a connection for its next request; the server closes what has been idle for some time. When the request is on its
 * way while the server makes up its mind, it reaches a connection that no program reads any more. The answer is a RST: ECONNRESET in
 * Node ("socket hang up" when the FIN came first), and a proxy in between makes 502 Bad Gateway of it.
 *
 * WATCH   a request in Recv-Q of a connection that is closed then; TCPAbortOnClose, TcpOutRsts
 * CAVEAT  the race is made certain here: client and server are one process, and the server closes before its program can read
 * SEE     RFC 9112 sections 9.3.1 and 9.5; agent.timeout, request.reusedSocket and server.keepAliveTimeout in Node's http
 */
import { Agent, get, type ClientRequest } from "node:http";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets, type Listening, type OwnSockets } from "../lab/network.ts";
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import { jsonPool } from "../protocol/json/pool.ts";
import { createJsonServer } from "../protocol/json/server.ts";

const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const IDLE_MS = 100;
const MOST_TICKS = 50;

type Params = { readonly clients: number };

/** How a request ended: `none` for an answer, or an errno; and whether its connection had served before. */
type Outcome = { readonly errno: string; readonly isReused: boolean };

function request(agent: Agent, port: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const asked: ClientRequest = get({ agent, port, host: "127.0.0.1" }, (response) => {
      response.resume().on("end", () => resolve({ errno: "none", isReused: asked.reusedSocket }));
    });
    asked.on("error", ({ code }: NodeJS.ErrnoException) =>
      resolve({ errno: code ?? "?", isReused: asked.reusedSocket }),
    );
  });
}

function requests(agent: Agent, port: number, count: number): Promise<Outcome[]> {
  return Promise.all(Array.from({ length: count }, () => request(agent, port)));
}

function countOf(outcomes: readonly Outcome[], errno: string): number {
  return outcomes.filter((outcome) => outcome.errno === errno).length;
}

/** A server that answers every request, and closes what is idle for so long. */
function answering(own: OwnSockets, idleLimitMs = 0): Promise<Listening> {
  return own.listen({
    onLine: ({ socket }) => {
      socket.on("data", () => socket.write(ANSWER));
      socket.setTimeout(idleLimitMs, () => socket.destroy());
    },
  });
}

/** Clients with a pool, after their first request. With `idleLimitMs` they let go of what is idle, long before the server does. */
async function withPool(
  params: Params & { idleLimitMs?: number },
  work: (scene: { agent: Agent; server: Listening }) => Promise<void>,
): Promise<void> {
  const { clients, idleLimitMs } = params;
  await withSockets(async (own) => {
    const timeout = idleLimitMs === undefined ? {} : { timeout: idleLimitMs };
    const size = { maxSockets: clients, maxFreeSockets: clients };
    const agent = new Agent({ keepAlive: true, ...size, ...timeout });
    try {
      const server = await answering(own, 10 * (idleLimitMs ?? 0));
      await requests(agent, server.port, clients);
      await work({ agent, server });
    } finally {
      agent.destroy();
    }
  });
}

/**
 * The server closes its idle connections just when the next requests have reached its kernel: within one turn of the event
 * loop, so that its program (of the same process) has not read them.
 */
async function closeTooLate(bench: Bench, { port, lines }: Listening): Promise<void> {
  const idle = [...lines];
  const unread = (): number =>
    rows(bench, "server", "ESTABLISHED", port).filter(({ recvQ = 0 }) => recvQ > 0).length;
  for (let tick = 0; tick < MOST_TICKS && unread() < idle.length; tick += 1)
    await new Promise<void>((resolve) => process.nextTick(resolve));
  for (const { socket } of idle) socket.destroy();
}

/** A second round of requests, each on a connection that the server is about to close. */
async function race(
  bench: Bench,
  { agent, server }: { agent: Agent; server: Listening },
  clients: number,
): Promise<Outcome[]> {
  const second = requests(agent, server.port, clients);
  await closeTooLate(bench, server);
  return second;
}

async function losesRequests(
  bench: Bench,
  clients: number,
  prepare: (server: Listening) => Promise<void>,
): Promise<void> {
  const lost = bench.predict("requests that fail: ECONNRESET", clients);
  const reused = bench.predict("of these on a reused connection", clients);
  const aborts = bench.predict("closed with a request unread", clients, "TCPAbortOnClose");
  const resets = bench.predict("RSTs sent (TcpOutRsts)", clients);
  await withPool({ clients }, async (scene) => {
    await prepare(scene.server);
    const outcomes = await race(bench, scene, clients);
    lost.measured(countOf(outcomes, "ECONNRESET"));
    reused.measured(outcomes.filter(({ errno, isReused }) => errno !== "none" && isReused).length);
    aborts.measured(bench.counted("TcpExtTCPAbortOnClose"));
    resets.measured(bench.counted("TcpOutRsts"));
  });
}

const broken = {
  about: "a pooled connection, closed by the server while the next request is on its way",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(`${clients} clients with an http.Agent: one request each, and then another.`);
    await losesRequests(bench, clients, () => Promise.resolve());
  },
};

const control = {
  about: "the same requests on the same connections, and a server that keeps them",
  run: async (bench: Bench, { clients }: Params) => {
    const answered = bench.predict("second requests answered", clients);
    const reused = bench.predict("on a reused connection", clients);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients, "one each");
    await withPool({ clients }, async ({ agent, server }) => {
      const outcomes = await requests(agent, server.port, clients);
      answered.measured(countOf(outcomes, "none"));
      reused.measured(outcomes.filter(({ isReused }) => isReused).length);
      handshakes.measured(bench.counted("TcpPassiveOpens"));
    });
  },
};

const retry = {
  about: "retry once what failed on a reused connection, and may be repeated (GET)",
  run: async (bench: Bench, { clients }: Params) => {
    const failed = bench.predict("first attempts that fail", clients);
    const answered = bench.predict("requests answered in the end", clients);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", 2 * clients, "new ones");
    await withPool({ clients }, async (scene) => {
      const outcomes = await race(bench, scene, clients);
      const stale = outcomes.filter(({ errno, isReused }) => errno !== "none" && isReused);
      failed.measured(stale.length);
      const again = await requests(scene.agent, scene.server.port, stale.length);
      answered.measured(countOf(outcomes, "none") + countOf(again, "none"));
      handshakes.measured(bench.counted("TcpPassiveOpens"));
    });
  },
};

const shorterIdle = {
  about: "the client lets go first: its idle limit is below the server's (agent.timeout)",
  run: async (bench: Bench, { clients }: Params) => {
    const answered = bench.predict("second requests answered", clients);
    const reused = bench.predict("on a reused connection", 0, "the pool had let go of them");
    const timeWait = bench.predict("TIME_WAIT, client's side", clients, "it closed first");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
    await withPool({ clients, idleLimitMs: IDLE_MS }, async ({ agent, server }) => {
      timeWait.measured(await settled(bench, clients, ["client", "TIME_WAIT", server.port]));
      const outcomes = await requests(agent, server.port, clients);
      answered.measured(countOf(outcomes, "none"));
      reused.measured(outcomes.filter(({ isReused }) => isReused).length);
      resets.measured(bench.counted("TcpOutRsts"));
    });
  },
};

const poolIdle = {
  about: "the same with the pool of our protocol: an idle limit below the server's",
  run: async (bench: Bench, { clients }: Params) => {
    const answered = bench.predict("second requests answered", clients);
    const made = bench.predict("connections made (TcpPassiveOpens)", 2 * clients, "new ones");
    const timeWait = bench.predict("TIME_WAIT, client's side", clients, "it closed first");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
    const server = createJsonServer({ idleTimeoutMs: 10 * IDLE_MS });
    const { port } = await server.listen({ port: 0 });
    const pool = jsonPool({ port }, { max: clients, idleTimeoutMs: IDLE_MS });
    // Each keeps its connection until all have one.
    const round = async (): Promise<number> => {
      let isAllIn: () => void = () => undefined;
      const allIn = new Promise<void>((resolve) => (isAllIn = resolve));
      let count = 0;
      const use = async (one: ClientConnection): Promise<void> => {
        await one.request({ type: "ping" });
        if (++count === clients) isAllIn();
        await allIn;
      };
      await Promise.all(Array.from({ length: clients }, () => pool.use(use)));
      return count;
    };
    await round();
    timeWait.measured(await settled(bench, clients, ["client", "TIME_WAIT", port]));
    answered.measured(await round());
    made.measured(bench.counted("TcpPassiveOpens"));
    await pool.close();
    await server.close({ drainMs: 0 });
    resets.measured(bench.counted("TcpOutRsts"));
  },
};

const tcpKeepAlive = {
  about: "TCP keep-alive on these connections: it probes the peer's kernel, not its program's mind",
  run: (bench: Bench, { clients }: Params) => {
    const timers = bench.predict(
      "timer keepalive, both ends",
      2 * clients,
      "an http.Agent that keeps connections turns it on itself",
    );
    const probes = bench.predict("probes, all answered (TCPKeepAlive)", atLeast(clients));
    return losesRequests(bench, clients, async ({ lines }) => {
      for (const { socket } of lines) socket.setKeepAlive(true, 1_000);
      timers.measured(bench.sockets().filter(({ timer }) => timer?.name === "keepalive").length);
      probes.measured(await bench.countedUpTo("TcpExtTCPKeepAlive", clients));
    });
  },
};

export default defineLab({
  name: "stale-keep-alive",
  summary: "a request on a pooled connection that the server closes: ECONNRESET, 502",
  tags: ["peers", "closing"],
  params: { clients: [23, "clients, each with one pooled connection"] },
  story: {
    see: "Requests on reused connections fail with ECONNRESET although the server is up and answers every new connection.",
    why:
      "HTTP lets either side close an idle connection at any time, and the other learns of it a moment later. A request sent within that moment " +
      "meets a connection that nobody serves any more. The window is small, and a busy client or server makes it " +
      "larger. It is hit all the time when the server's idle limit is the shorter one: keepAliveTimeout is 5 s in Node 20, and the usual load " +
      "balancer keeps connections for 60 s and more: it regularly reuses what the server is just closing.",
    recognise: [
      [
        "journalctl -u SERVICE | grep -E 'ECONNRESET|socket hang up'",
        "at the client: now and then, after pauses, never on a first request",
      ],
      ["nstat -az TcpExtTCPAbortOnClose TcpOutRsts", "at the server: closes with a request unread"],
      [
        "tcpdump -ni any 'tcp port PORT and tcp[tcpflags] & (tcp-fin|tcp-rst) != 0'",
        "the server's FIN or RST right after a request",
      ],
    ],
    symptoms: [
      "ECONNRESET from read()",
      '"upstream prematurely closed connection" in nginx\'s log',
      "EPIPE from write()",
      "502 now and then, from a load balancer",
      '"socket hang up" in a log',
    ],
    fix: [
      "Server: keepAliveTimeout longer than the idle limit of the proxy before it (65 s for one of 60 s). headersTimeout need not be longer since Node 18: it counts from a request's first byte.",
      "Client: an idle limit below the server's, for example new Agent({ keepAlive: true, timeout: 4000 }).",
      "Retry requests that may be repeated when request.reusedSocket is true and the error is ECONNRESET.",
    ],
    reports: [
      "nodejs/node#20256",
      "nodejs/node#27363",
      "nodejs/node#17749",
      "node-modules/agentkeepalive#23",
    ],
  },
  arms: { broken, control, fixed: [retry, shorterIdle, poolIdle], myth: [tcpKeepAlive] },
});
