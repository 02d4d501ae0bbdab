/** framed: requests per second of length-prefixed JSON, beside redis. Both servers are loaded by a C program. */
import { startServer } from "../../lib/lab/program.ts";
import type { Contest, Contestant, Figures } from "../lib/contest.ts";
import { COMPILER, runLoad } from "../lib/peer.ts";
import { REDIS, redisBenchmark } from "../lib/redis.ts";

type Shape = { readonly connections: number; readonly inFlight: number; readonly bytes: number };

const ONE_BY_ONE: Shape = { connections: 50, inFlight: 1, bytes: 16 };
const SIXTEEN: Shape = { connections: 50, inFlight: 16, bytes: 16 };
const LONG: Shape = { connections: 10, inFlight: 8, bytes: 16_384 };

/** Redis has been compiled before it starts; V8 compiles what has been running for a while. */
async function json(requests: number, shape: Shape): Promise<Figures> {
  const { port } = await startServer(["--protocol", "json", "--port", "0"]);
  const first = await runLoad(port, { ...shape, requests: Math.ceil(requests / 2) });
  const { perSecond } = await runLoad(port, { ...shape, requests });
  return { perSecond, firstPerSecond: first.perSecond };
}

function ours(shape: Shape, part = 1): Contestant {
  return { needs: COMPILER, run: (load) => json(Math.ceil(load * part), shape) };
}

function redis({ connections, inFlight }: Shape, part: number, what: string[]): Contestant {
  return {
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
  runs: 3,
  contestants: {
    "json, one by one": ours(ONE_BY_ONE),
    "redis, one by one": redis(ONE_BY_ONE, 1, PING),
    "json, 16 in flight": ours(SIXTEEN, 4),
    "redis, 16 in flight": redis(SIXTEEN, 10, PING),
    "json, 16 KiB": ours(LONG, 0.5),
    "redis, 16 KiB": redis(LONG, 1, ECHO),
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
      limit: "",
    },
    {
      what: "the same with 16 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 in flight", "perSecond"],
      peer: { name: "framed JSON, one in flight", source: ["json, one by one", "perSecond"] },
      reach: { ratio: 4 },
      limit: "",
    },
    {
      what: "the same beside redis with 16 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 in flight", "perSecond"],
      peer: { name: "redis-benchmark -P 16", source: ["redis, 16 in flight", "perSecond"] },
      limit: "",
    },
    {
      what: "framed JSON echo of 16 KiB, 10 connections, 8 in flight",
      unit: "1/s",
      better: "more",
      ours: ["json, 16 KiB", "perSecond"],
      peer: { name: "redis-benchmark -c 10 -P 8 ECHO", source: ["redis, 16 KiB", "perSecond"] },
      reach: { atLeast: 25_000 },
      limit: "",
    },
  ],
};
