/** idle: what a connection that says nothing costs its server. */
import { setTimeout as pause } from "node:timers/promises";
import { processStatus } from "../../lib/kernel/process.ts";
import { startServer } from "../../lib/lab/program.ts";
import { Crowd } from "../../lib/protocol/crowd.ts";
import type { Contest, Figures } from "../lib/contest.ts";
import { DEEP_QUEUE } from "../lib/listening.ts";
import { REDIS, startRedis } from "../lib/redis.ts";

const FULL = 10_000;
const MESSAGES = 10;

/**
 * Redis gives back the buffers of clients that are idle bit by bit: of 9.6 KiB each 6.8 are left after 3 s, 3.9 after 6, 1.9 after 11 and after
 * 41. V8 collects what is garbage once the program has had little to do for a while: of 3.0 KiB each 2.8 are left after 12 s, 1.5 after 15 and after 50.
 */
const REST_MS = 20_000;

/** An echo answers with the same; redis takes it for a command, and its answer is as long. */
const MESSAGE = Buffer.from("PING \r\n");
const REDIS_ANSWER = Buffer.from("+PONG\r\n");

type Server = { readonly pid: number; readonly port: number };

async function perConnection(
  { pid, port }: Server,
  connections: number,
  answer = MESSAGE,
): Promise<Figures> {
  const { signal } = new AbortController();
  const crowd = new Crowd({
    ...{ host: "127.0.0.1", port, connections, signal, message: MESSAGE, answer },
    opening: 128,
  });
  const before = processStatus(pid).rssBytes;
  const each = (): number => (processStatus(pid).rssBytes - before) / connections;
  const { open } = await crowd.open();
  if (open < connections) throw new Error(`${open} of ${connections} open`);
  const opened = each();
  const { answered } = await crowd.exchange(MESSAGES);
  if (answered < connections * MESSAGES) throw new Error(`${answered} answered`);
  const afterMessages = each();
  if (connections >= FULL) await pause(REST_MS);
  return { opened, afterMessages, atRest: each() };
}

async function ourServer(connections: number): Promise<Figures> {
  const server = await startServer(["--port", "0", ...DEEP_QUEUE]);
  return perConnection(server, connections);
}

async function redis(connections: number): Promise<Figures> {
  return perConnection(await startRedis(connections), connections, REDIS_ANSWER);
}

export const idleContest: Contest = {
  name: "idle",
  load: { full: FULL, quick: 200 },
  runs: 5,
  contestants: {
    "our server": { run: ourServer },
    redis: { needs: REDIS, run: redis },
  },
  lines: [
    {
      what: "idle connection, server's RSS each, 10,000 of them",
      unit: "bytes",
      better: "less",
      ours: ["our server", "opened"],
      peer: { name: "redis-server", source: ["redis", "opened"] },
      reach: { atMost: 4_096 },
      limit:
        "1.5 KiB are alive: net.Socket with its two streams 1 KiB, libuv's handle 0.4 KiB. The rest is garbage that waits for its collection, bounded by a young generation of 1 MiB, and pages that are not full.",
    },
    {
      what: `the same after ${MESSAGES} messages each`,
      unit: "bytes",
      better: "less",
      ours: ["our server", "afterMessages"],
      peer: { name: "redis-server", source: ["redis", "afterMessages"] },
      reach: { atMost: 4_096 },
      limit:
        "The same. Redis has not given its buffers back yet; that takes it ten seconds, and V8's collection as long.",
    },
    {
      what: "the same 20 s later",
      unit: "bytes",
      better: "less",
      ours: ["our server", "atRest"],
      peer: { name: "redis-server", source: ["redis", "atRest"] },
      reach: { atMost: 4_096 },
      limit: "What is alive, and next to no garbage: V8 has collected.",
    },
  ],
  growth: [
    {
      what: "server's RSS of a connection",
      of: "connections",
      loads: [100, 1_000, 10_000],
      unit: "bytes",
      source: ["our server", "opened"],
      kind: "each",
    },
  ],
};
