/** framed: requests per second of length-prefixed JSON, beside redis. Both servers are loaded by C programs; ours also by our client. */
import { startServer } from "../../lib/lab/program.ts";
import { measurePerformance } from "../../lib/programs/performance.ts";
import type { Contest, Contestant, Figures } from "../lib/contest.ts";
import { DEEP_QUEUE } from "../lib/listening.ts";
import { COMPILER, runLoad, startPeerServer } from "../lib/peer.ts";
import { REDIS, redisBenchmark } from "../lib/redis.ts";

type Shape = { readonly connections: number; readonly inFlight: number; readonly bytes: number };

const ONE_BY_ONE: Shape = { connections: 50, inFlight: 1, bytes: 16 };
const SIXTEEN: Shape = { connections: 50, inFlight: 16, bytes: 16 };
const LONG: Shape = { connections: 10, inFlight: 8, bytes: 16_384 };

const SERVER = ["--protocol", "json", "--port", "0", ...DEEP_QUEUE];

const ONE_CORE = { isOnOneCore: true } as const;

/**
 * Redis has been compiled before it starts; V8 compiles what has been running for a while. Ten times 200,000 requests in a row took 1,517, 1,454,
 * 1,432, 1,407, 1,411, 1,411, 1,410, 1,427, 1,437 and 1,443 ms: from the third on it is as fast as it gets.
 */
const WARM_UP = 2;

async function json(requests: number, shape: Shape): Promise<Figures> {
  const { port } = await startServer(SERVER);
  const first = await runLoad(port, { ...shape, requests: WARM_UP * requests });
  const { perSecond } = await runLoad(port, { ...shape, requests });
  return { perSecond, firstPerSecond: first.perSecond };
}

async function inC(requests: number, shape: Shape): Promise<Figures> {
  const { port } = await startPeerServer();
  return runLoad(port, { ...shape, requests });
}

/** About as long as C takes for so many requests. */
const REQUESTS_PER_MS = 50;

async function ourClient(requests: number, shape: Shape): Promise<Figures> {
  const { port } = await startServer(SERVER);
  const durationMs = Math.max(200, requests / REQUESTS_PER_MS);
  const { perSecond, failed, wrong } = await measurePerformance({
    connect: { host: "127.0.0.1", port },
    ...{ connections: shape.connections, inFlight: shape.inFlight, contentBytes: shape.bytes },
    ...{ durationMs, warmupMs: durationMs / 2, ratePerSecond: 0, openPerSecond: Infinity },
    signal: new AbortController().signal,
  });
  if (wrong > 0 || Object.keys(failed).length > 0)
    throw new Error(`${wrong} wrong answers, ${JSON.stringify(failed)}`);
  return { perSecond };
}

function ours(shape: Shape, part = 1): Contestant {
  return {
    ...ONE_CORE,
    needs: COMPILER,
    run: (load) => json(Math.ceil(load * part), shape),
  };
}

function redis({ connections, inFlight }: Shape, part: number, what: string[]): Contestant {
  return {
    ...ONE_CORE,
    needs: REDIS,
    run: async (load) => {
      const requests = Math.ceil(load * part);
      return { perSecond: await redisBenchmark({ requests, connections, inFlight, what }) };
    },
  };
}

const PING = ["-t", "ping_mbulk"];
const ECHO = ["ECHO", "x".repeat(LONG.bytes)];

export const framedContest: Contest = {
  name: "framed",
  load: { full: 200_000, quick: 2_000 },
  runs: 7,
  contestants: {
    "json, one by one": ours(ONE_BY_ONE),
    "C, one by one": { ...ONE_CORE, needs: COMPILER, run: (load) => inC(load, ONE_BY_ONE) },
    "redis, one by one": redis(ONE_BY_ONE, 1, PING),
    "our client, one by one": { ...ONE_CORE, run: (load) => ourClient(load, ONE_BY_ONE) },
    "json, 16 in flight": ours(SIXTEEN, 4),
    "redis, 16 in flight": redis(SIXTEEN, 10, PING),
    "our client, 16 in flight": { ...ONE_CORE, run: (load) => ourClient(load, SIXTEEN) },
    "json, 16 KiB": ours(LONG, 0.5),
    "redis, 16 KiB": redis(LONG, 1, ECHO),
    "our client, 16 KiB": { ...ONE_CORE, run: (load) => ourClient(load, LONG) },
  },
  lines: [
    {
      what: "framed JSON echo, 50 connections, one request in flight each",
      unit: "1/s",
      better: "more",
      ours: ["json, one by one", "perSecond"],
      peer: {
        name: "redis-benchmark -t ping_mbulk -c 50",
        source: ["redis, one by one", "perSecond"],
      },
      reach: { ratio: 0.6 },
      limit:
        "Node: perf finds 38 % of the server's time in the kernel, for one read and one write each as in redis, and 5 % in JSON. The rest are streams, calls from C++ into JavaScript and back, and memory for each chunk.",
    },
    {
      what: "the same, beside the same in C",
      unit: "1/s",
      better: "more",
      ours: ["json, one by one", "perSecond"],
      peer: { name: "server.c", source: ["C, one by one", "perSecond"] },
      limit:
        "The same: the floor. C looks for the content where we parse JSON, and four fifths of its server's time are the kernel's.",
    },
    {
      what: "the same, loaded by our own client",
      unit: "1/s",
      better: "more",
      ours: ["our client, one by one", "perSecond"],
      peer: {
        name: "redis-benchmark -t ping_mbulk -c 50",
        source: ["redis, one by one", "perSecond"],
      },
      limit: "The client: a promise, a time-out and a check for each request, on one thread.",
    },
    {
      what: "framed JSON echo, 50 connections, 16 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 in flight", "perSecond"],
      peer: { name: "framed JSON, one in flight", source: ["json, one by one", "perSecond"] },
      reach: { ratio: 4 },
      limit: "JSON: one read and one write serve sixteen messages, but each is parsed and spelled.",
    },
    {
      what: "the same, beside redis with 16 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 in flight", "perSecond"],
      peer: { name: "redis-benchmark -P 16", source: ["redis, 16 in flight", "perSecond"] },
      limit: "The same. Redis compares five bytes with the name of a command.",
    },
    {
      what: "16 in flight, loaded by our own client",
      unit: "1/s",
      better: "more",
      ours: ["our client, 16 in flight", "perSecond"],
      limit: "The client, as above.",
    },
    {
      what: "framed JSON echo of 16 KiB, 10 connections, 8 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 KiB", "perSecond"],
      peer: { name: "redis-benchmark -c 10 -P 8 ECHO", source: ["redis, 16 KiB", "perSecond"] },
      reach: { atLeast: 25_000 },
      limit:
        "JSON and UTF-8: JSON.parse has 28 % of the server's time, turning text into bytes and back 19 %, the kernel 16 %, the garbage collector 8 %. Redis parses nothing.",
    },
    {
      what: "16 KiB, loaded by our own client",
      unit: "1/s",
      better: "more",
      ours: ["our client, 16 KiB", "perSecond"],
      limit: "The client, which spells and reads as much JSON as the server.",
    },
  ],
};
