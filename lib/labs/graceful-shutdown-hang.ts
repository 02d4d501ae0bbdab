/**
 * graceful-shutdown-hang: server.close() stops listening, and then waits for connections on which nothing will ever happen.
 *
 * close() of a server is not close(2) of its connections: it ends the listener and is done when the last connection is. Clients
 * that keep a connection for later use (pools, HTTP keep-alive) have no reason to close it. The process then lives on without
 * a listener until somebody kills it: connections in ESTABLISHED, and new clients are refused.
 *
 * WATCH   no LISTEN row any more, and ESTABLISHED with Recv-Q and Send-Q 0
 * CAVEAT  since Node 19 http.Server.close() closes idle connections itself; half a request still counts as busy, and from close() on
 *         no headersTimeout or requestTimeout ends it; net.Server never closes anything
 * SEE     server.close(), server.closeIdleConnections(), server.closeAllConnections() in Node's net and http
 */
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo, Server } from "node:net";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import {
  rows,
  settled,
  withSockets,
  type Line,
  type OwnSockets,
  type Side,
} from "../lab/network.ts";

const PATIENCE_MS = 500;
const HEADERS_TIMEOUT_MS = 100;
/** How often an HTTP server looks for requests that are late; by default every 30 s. */
const CHECK_EVERY_MS = 50;
const REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HALF_REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\n";

type Params = { readonly clients: number };

/** Asks a server to close; the value says whether it has. */
function closing(server: Server): { isClosed: boolean } {
  const state = { isClosed: false };
  server.close(() => (state.isClosed = true));
  return state;
}

/** Clients that have had an answer and keep their connection for the next request. */
async function idleClients(
  bench: Bench,
  own: OwnSockets,
  { port, clients }: { port: number; clients: number },
): Promise<readonly Line[]> {
  const lines = await own.dialAll(clients, { port });
  for (const { socket } of lines) socket.write("hello");
  await bench.until(
    () => lines.every(({ bytes }) => bytes > 0),
    (all) => all,
  );
  return lines;
}

function echo({ socket }: Line): void {
  socket.on("data", (chunk) => socket.write(chunk));
}

const broken = {
  about: "server.close() with idle clients: the listener ends, the process does not",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(
      `${clients} clients have been answered and keep their connections. Then server.close().`,
    );
    await withSockets(async (own) => {
      const closed = bench.predict(`closed after ${PATIENCE_MS} ms`, "no", "it waits for them");
      const open = bench.predict("ESTABLISHED, server's side", clients);
      const listening = bench.predict("LISTEN", 0);
      const late = bench.predict("a new client sees", "ECONNREFUSED");
      const server = await own.listen({ onLine: echo });
      await idleClients(bench, own, { port: server.port, clients });
      const state = closing(server.server);
      await bench.pass(PATIENCE_MS);
      closed.measured(state.isClosed ? "yes" : "no");
      open.measured(rows(bench, "server", "ESTABLISHED", server.port).length);
      listening.measured(rows(bench, "server", "LISTEN", server.port).length);
      late.measured((await own.dial({ port: server.port })).errno);
    });
  },
};

/** A server with idle clients that is told to close, and does. */
async function closes(
  bench: Bench,
  { clients, first }: { clients: number; first: Side },
  helpAlong: (ends: { clients: readonly Line[]; server: readonly Line[] }) => void,
): Promise<void> {
  await withSockets(async (own) => {
    const closed = bench.predict("closed in the end", "yes");
    const open = bench.predict("ESTABLISHED, server's side", 0);
    const timeWait = bench.predict(`TIME_WAIT, ${first}'s side`, clients, "it closes first");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
    const server = await own.listen({ onLine: echo });
    const lines = await idleClients(bench, own, { port: server.port, clients });
    const state = closing(server.server);
    helpAlong({ clients: lines, server: server.lines });
    await bench.until(
      () => state.isClosed && lines.every(({ isClosed }) => isClosed),
      (isOver) => isOver,
    );
    closed.measured(state.isClosed ? "yes" : "no");
    open.measured(rows(bench, "server", "ESTABLISHED", server.port).length);
    timeWait.measured(await settled(bench, clients, [first, "TIME_WAIT", server.port]));
    resets.measured(bench.counted("TcpOutRsts"));
  });
}

const control = {
  about: "clients that leave after their answer: server.close() is over with the last of them",
  run: (bench: Bench, { clients }: Params) =>
    closes(bench, { clients, first: "client" }, (ends) => {
      for (const { socket } of ends.clients) socket.end();
    }),
};

const endIdle = {
  about: "end() on every idle connection: a FIN, which a client's pool understands",
  run: (bench: Bench, { clients }: Params) =>
    closes(bench, { clients, first: "server" }, (ends) => {
      for (const { socket } of ends.server) socket.end();
    }),
};

type HttpScene = {
  readonly server: HttpServer;
  readonly port: number;
  readonly idle: readonly Line[];
  readonly halfway: readonly Line[];
};

/** An HTTP server with idle clients, and with others that have sent half a request. */
async function withHttp(
  bench: Bench,
  clients: number,
  work: (scene: HttpScene) => Promise<void>,
): Promise<void> {
  const server = createServer(
    { connectionsCheckingInterval: CHECK_EVERY_MS },
    (_request, response) => response.end("ok"),
  );
  try {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await withSockets(async (own) => {
      const idle = await own.dialAll(clients, { port });
      const halfway = await own.dialAll(clients, { port });
      for (const { socket } of idle) socket.write(REQUEST);
      for (const { socket } of halfway) socket.write(HALF_REQUEST);
      await bench.until(
        () => idle.every(({ bytes }) => bytes > 0),
        (all) => all,
      );
      await work({ server, port, idle, halfway });
    });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const closeAll = {
  about: "http: close(), and closeAllConnections() when the time for the rest is over",
  run: (bench: Bench, { clients }: Params) =>
    withHttp(bench, clients, async ({ server, port, halfway }) => {
      const closed = bench.predict("closed in the end", "yes");
      const open = bench.predict("ESTABLISHED, server's side", 0);
      const cut = bench.predict("half requests that were cut off", clients, "the price");
      const state = closing(server);
      server.closeAllConnections();
      await bench.until(
        () => state.isClosed && halfway.every(({ isClosed }) => isClosed),
        (isOver) => isOver,
      );
      closed.measured(state.isClosed ? "yes" : "no");
      open.measured(await settled(bench, 0, ["server", "ESTABLISHED", port]));
      cut.measured(halfway.filter(({ bytes, isClosed }) => isClosed && bytes === 0).length);
    }),
};

/** How many half requests an HTTP server ends by its own headersTimeout, while nobody has asked it to close. */
async function lateHeaders(bench: Bench, clients: number): Promise<number> {
  let ended = 0;
  await withHttp(bench, clients, async ({ server, halfway }) => {
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    ended = await bench.until(
      () => halfway.filter(({ isClosed }) => isClosed).length,
      (count) => count === clients,
    );
  });
  return ended;
}

const httpClose = {
  about: "http.Server.close() alone: it closes what is idle, and half a request is not",
  run: async (bench: Bench, { clients }: Params) => {
    const late = bench.predict(
      "half requests that end before a close()",
      clients,
      `headersTimeout: ${HEADERS_TIMEOUT_MS} ms here, by default 60 s`,
    );
    const closed = bench.predict(`closed after ${PATIENCE_MS} ms`, "no", "it waits for the rest");
    const ended = bench.predict("idle clients that were told: 'end'", clients);
    const open = bench.predict(
      "ESTABLISHED, server's side",
      clients,
      "half requests: close() also ends the watch over headersTimeout",
    );
    late.measured(await lateHeaders(bench, clients));
    await withHttp(bench, clients, async ({ server, port, idle }) => {
      server.headersTimeout = HEADERS_TIMEOUT_MS;
      const state = closing(server);
      await bench.pass(PATIENCE_MS);
      closed.measured(state.isClosed ? "yes" : "no");
      ended.measured(idle.filter(({ hasEnded }) => hasEnded).length);
      open.measured(rows(bench, "server", "ESTABLISHED", port).length);
    });
  },
};

export default defineLab({
  name: "graceful-shutdown-hang",
  summary: "server.close() waits for idle connections, and they never end",
  tags: ["descriptors", "closing"],
  params: { clients: [23, "clients that keep their connections"] },
  story: {
    see: "After server.close() nobody listens any more, new clients are refused, and the process does not end: all idle connections are still there.",
    why:
      "Closing a listener ends only the listener. Its connections are sockets of their own, and a program that wants to answer what it has " +
      "accepted must keep them. But an idle connection in a client's pool has nothing left to answer, and neither side has a " +
      "reason to close it. So the orderly end waits for its slowest client, until the supervisor loses patience and sends SIGKILL; " +
      "then the requests that really were under way are lost as well.",
    recognise: [
      ["ss -tanp '( sport = :PORT )'", "ESTABLISHED rows of a process, and no LISTEN row"],
      [
        "journalctl -u SERVICE | grep -i 'timed out'",
        "stop timeouts, then SIGKILL (exit code 137 in containers)",
      ],
      ["tcp-states --by process", "connections that a process has long after its SIGTERM"],
    ],
    symptoms: [
      "a server that does not end after close()",
      "ESTABLISHED connections without a listener",
    ],
    fix: [
      "net: remember connections, and end() those without a request under way. http: closeIdleConnections() comes with close() since Node 19.",
      "Then a deadline: destroy() or closeAllConnections() for what is left, shorter than the supervisor's (10 s in docker, 30 s in Kubernetes). " +
        "Nothing else ends half a request then: close() also ends the watch over headersTimeout and requestTimeout.",
      "Answer the last request of each connection with Connection: close, so that clients do not reuse it.",
    ],
    reports: ["nodejs/node#2642", "nodejs/help#3701", "nodejs/node#60617"],
  },
  arms: { broken, control, fixed: [endIdle, closeAll], myth: [httpClose] },
});
