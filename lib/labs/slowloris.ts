/**
 * slowloris: a few clients that send a byte now and then occupy a server that has nothing to do.
 *
 * A server waits for the end of a request before it works on it, and holds a connection meanwhile. A client that never ends its
 * headers, but sends another byte before any idle timeout, holds its place for next to nothing. Enough of them take all that the
 * server has of whatever is limited (connections, descriptors, workers), and everybody else is turned away from an idle machine.
 *
 * WATCH   ESTABLISHED at the limit, Recv-Q 0, no CPU; good clients that are cut off
 * CAVEAT  the limits are made small here: maxConnections 23, headersTimeout 300 ms (default 60 s)
 * SEE     server.headersTimeout, requestTimeout, connectionsCheckingInterval, maxConnections in Node's http and net
 */
import { createServer, get, type ServerOptions } from "node:http";
import type { AddressInfo } from "node:net";
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets, type Line } from "../lab/network.ts";
import { openConnection } from "../protocol/json/connect.ts";
import { createJsonServer } from "../protocol/json/server.ts";

const DRIP_MS = 40;
const WATCH_MS = 700;
const HEADERS_MS = 300;
const IDLE_MS = 500;
const START = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

type Params = { readonly slow: number };

type World = ServerOptions & {
  /** socket.setTimeout() for each connection; 0 for none. */
  readonly idleMs?: number;
};

type Scene = {
  readonly port: number;
  readonly drops: () => number;
  /** Asks as a good client does: an HTTP status, or an errno. */
  readonly ask: () => Promise<number | string>;
  /** Opens slow clients, which send a byte every 40 ms. */
  readonly drip: (count: number) => Promise<readonly Line[]>;
};

/** An HTTP server with room for so many connections. */
async function withServer(
  { room, idleMs = 0, ...options }: World & { room: number },
  work: (scene: Scene) => Promise<void>,
): Promise<void> {
  // No time limits but those that are asked for: the defaults are minutes.
  const limits = { headersTimeout: 0, requestTimeout: 0, ...options };
  const server = createServer({ connectionsCheckingInterval: DRIP_MS, ...limits }, (_, response) =>
    response.setHeader("connection", "close").end("ok"),
  );
  let drops = 0;
  server.on("drop", () => (drops += 1)).setTimeout(idleMs);
  server.maxConnections = room;
  const drips: NodeJS.Timeout[] = [];
  try {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await withSockets(async (own) => {
      const drip = async (count: number): Promise<readonly Line[]> => {
        const lines = await own.dialAll(count, { port });
        for (const { socket } of lines) socket.write(START);
        const sendOne = (): void => {
          for (const { socket } of lines) if (socket.writable) socket.write("x");
        };
        drips.push(setInterval(sendOne, DRIP_MS));
        return lines;
      };
      await work({ port, drops: () => drops, ask: () => ask(port), drip });
    });
  } finally {
    for (const timer of drips) clearInterval(timer);
    server.close();
    server.closeAllConnections();
  }
}

function ask(port: number): Promise<number | string> {
  return new Promise((resolve) => {
    get({ port, host: "127.0.0.1", agent: false }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode ?? "?"));
    }).on("error", ({ code }: NodeJS.ErrnoException) => resolve(code ?? "?"));
  });
}

/** The slow clients hold all there is, and go on doing so. */
async function occupied(bench: Bench, slow: number, world: World): Promise<void> {
  const held = bench.predict(`ESTABLISHED after ${WATCH_MS} ms`, slow, "server's side");
  const unread = bench.predict("bytes in Recv-Q of these", 0, "it reads, and waits for more");
  const bytes = bench.predict(
    "bytes per slow client and second",
    between(1, 100),
    `one each ${DRIP_MS} ms, or fewer when the machine is busy`,
  );
  const good = bench.predict("a good client gets", "ECONNRESET", "no place is left");
  const drops = bench.predict("connections that Node dropped", 1, "event 'drop'");
  const handshakes = bench.predict("handshakes (TcpPassiveOpens)", slow + 1, "its own, too");
  await withServer({ room: slow, ...world }, async (scene) => {
    const lines = await scene.drip(slow);
    const before = lines.map(({ socket }) => socket.bytesWritten);
    await bench.pass(WATCH_MS);
    const waiting = (): number =>
      rows(bench, "server", "ESTABLISHED", scene.port).reduce(
        (sum, { recvQ = 0 }) => sum + recvQ,
        0,
      );
    held.measured(rows(bench, "server", "ESTABLISHED", scene.port).length);
    // The last drop may just be on its way.
    unread.measured(await bench.until(waiting, (count) => count === 0));
    const sent = lines.map(({ socket }, index) => socket.bytesWritten - (before[index] ?? 0));
    bytes.measured(Math.round(Math.max(...sent) / (WATCH_MS / 1_000)));
    good.measured(await scene.ask());
    drops.measured(scene.drops());
    handshakes.measured(bench.counted("TcpPassiveOpens"));
  });
}

const broken = {
  about: "as many slow clients as the server has room for: it is idle, and it is full",
  run: async (bench: Bench, { slow }: Params) => {
    bench.say(`Room for ${slow} connections; ${slow} slow clients, then a good one.`);
    await occupied(bench, slow, {});
  },
};

const control = {
  about: "as many good clients, one after the other, and then one more",
  run: async (bench: Bench, { slow }: Params) => {
    const answered = bench.predict("clients answered: 200", slow + 1);
    const drops = bench.predict("connections that Node dropped", 0);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", slow + 1);
    await withServer({ room: slow }, async (scene) => {
      let count = 0;
      for (let client = 0; client <= slow; client += 1) if ((await scene.ask()) === 200) count += 1;
      answered.measured(count);
      drops.measured(scene.drops());
      handshakes.measured(bench.counted("TcpPassiveOpens"));
    });
  },
};

const headersTimeout = {
  about: "headersTimeout: a limit for the whole of the headers, however they drip in",
  run: async (bench: Bench, { slow }: Params) => {
    const cut = bench.predict("slow clients that were cut off", slow, `after ${HEADERS_MS} ms`);
    const told = bench.predict("of these told why: 408", slow);
    const held = bench.predict("ESTABLISHED, server's side", 0);
    const good = bench.predict("a good client gets", 200);
    const world = { room: slow, headersTimeout: HEADERS_MS };
    await withServer(world, async ({ port, ask: askNow, drip }) => {
      const lines = await drip(slow);
      let reasons = 0;
      for (const { socket } of lines)
        socket.once(
          "data",
          (text) => (reasons += text.toString().startsWith("HTTP/1.1 408") ? 1 : 0),
        );
      const over = await bench.until(
        () => lines.filter(({ isClosed }) => isClosed).length,
        (count) => count === slow,
      );
      cut.measured(over);
      told.measured(reasons);
      held.measured(await settled(bench, 0, ["server", "ESTABLISHED", port]));
      good.measured(await askNow());
    });
  },
};

const idleByRequest = {
  about: "a protocol whose idle time-out counts requests, not bytes (server --protocol json)",
  run: async (bench: Bench, { slow }: Params) => {
    const cut = bench.predict("slow clients that were cut off", slow, `after ${IDLE_MS} ms`);
    const told = bench.predict("of these told why: IDLE_TIMEOUT", slow);
    const held = bench.predict("ESTABLISHED, server's side", 0);
    const good = bench.predict("a good client gets", "pong");
    const server = createJsonServer({ maxConnections: slow, idleTimeoutMs: IDLE_MS });
    const { port } = await server.listen({ port: 0 });
    await withSockets(async (own) => {
      const lines = await own.dialAll(slow, { port });
      // The length of a message of 120 bytes, and then one byte of it now and then.
      for (const { socket } of lines) socket.write(Buffer.from([0, 0, 0, 120]));
      const drip = setInterval(() => {
        for (const { socket } of lines) if (socket.writable) socket.write("{");
      }, DRIP_MS);
      const over = await bench.until(
        () => lines.filter(({ isClosed }) => isClosed).length,
        (count) => count === slow,
      );
      clearInterval(drip);
      cut.measured(over);
      // Both ends live in this process: a client may hear of its end before the server has counted it, for whatever reason.
      const counted = (): number => [...server.tally.closed.values()].reduce((a, b) => a + b, 0);
      await bench.until(counted, (count) => count === slow);
      told.measured(server.tally.closed.get("IDLE_TIMEOUT") ?? 0);
      held.measured(await settled(bench, 0, ["server", "ESTABLISHED", port]));
      await using client = await openConnection({ port });
      good.measured((await client.request({ type: "ping" })).type);
    });
    await server.close({ drainMs: 0 });
  },
};

const moreRoom = {
  about: "a limit above what these clients take: the good one is served beside them",
  run: async (bench: Bench, { slow }: Params) => {
    const held = bench.predict("ESTABLISHED, slow clients", slow, "they still cost memory");
    const good = bench.predict("a good client gets", 200);
    const drops = bench.predict("connections that Node dropped", 0);
    const opens = bench.predict("handshakes (TcpPassiveOpens)", slow + 1);
    await withServer({ room: 2 * slow }, async (scene) => {
      await scene.drip(slow);
      held.measured(await settled(bench, slow, ["server", "ESTABLISHED", scene.port]));
      good.measured(await scene.ask());
      drops.measured(scene.drops());
      opens.measured(bench.counted("TcpPassiveOpens"));
    });
  },
};

const idleTimeout = {
  about: "an idle timeout of 500 ms: every byte starts it anew",
  run: async (bench: Bench, { slow }: Params) => {
    const silent = bench.predict("a client that says nothing is", "cut off", "by that timeout");
    const world = { idleMs: IDLE_MS };
    await occupied(bench, slow, world);
    await withServer({ room: 1, ...world }, ({ port }) =>
      withSockets(async (own) => {
        const line = await own.dial({ port });
        const isCutOff = (): boolean => line.isClosed;
        silent.measured((await bench.until(isCutOff, (isSo) => isSo)) ? "cut off" : "held");
      }),
    );
  },
};

export default defineLab({
  name: "slowloris",
  summary: "clients that send a byte now and then fill a server that is idle",
  tags: ["peers"],
  params: { slow: [23, "slow clients; the server has room for as many"] },
  story: {
    see: "All places are taken by clients that send some 25 bytes a second; the server computes nothing, and good clients are cut off.",
    why:
      "A request counts as under way from its first byte to the blank line after its headers, and TCP has no opinion on how long that may take. Each " +
      "such connection keeps a descriptor, buffers, and a place below maxConnections. An idle timeout looks at the pause between two bytes, " +
      "so a client that sends one in time is never idle. Only a limit on the whole request, from its start, ends it. Slow mobile " +
      "clients, and proxies that pass bodies on without buffering, do the same without any bad intent.",
    recognise: [
      ["tcp-states --by process", "ESTABLISHED near the limit while the process uses no CPU"],
      [
        "ss -tni state established '( sport = :PORT )'",
        "bytes_received small, lastrcv always recent",
      ],
      [
        "ss -Htn state established '( sport = :PORT )' | awk '{print $4}' | sed 's/:[0-9]*$//' | sort | uniq -c",
        "from few addresses",
      ],
    ],
    symptoms: [
      "many ESTABLISHED connections, hardly any traffic",
      "a server that is idle and lets nobody in",
    ],
    fix: [
      "headersTimeout and requestTimeout (Node: 60 s and 300 s by default; lower them), checked every connectionsCheckingInterval.",
      "maxConnections below the descriptor limit, and a limit per client address in the proxy.",
      "A proxy that buffers whole requests (nginx does) before a server with few workers.",
    ],
    reports: ["caddyserver/caddy#4235", "warmcat/libwebsockets#2154"],
  },
  arms: { broken, control, fixed: [headersTimeout, idleByRequest, moreRoom], myth: [idleTimeout] },
});
