/** redis: the server that others are compared with, keeping nothing, and its own load generator. */
import { execa } from "execa";
import type { Tool } from "./contest.ts";
import { untilListening } from "./listening.ts";

/** What running it needs. */
export const REDIS: readonly Tool[] = [
  { file: "redis-server", package: "redis-server" },
  { file: "redis-benchmark", package: "redis-tools" },
];

const PORT = 6_379;

/** Starts it in this sandbox, for so many clients, and waits until it listens. */
export async function startRedis(
  clients: number,
): Promise<{ readonly pid: number; readonly port: number }> {
  const flags = {
    ...{ port: PORT, maxclients: clients + 100, "tcp-backlog": 4_096 },
    ...{ save: "", appendonly: "no" },
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, `${value}`]);
  const { pid = 0 } = execa("redis-server", words, { reject: false, cwd: "/tmp" });
  await untilListening(PORT);
  return { pid, port: PORT };
}

/** How redis-benchmark is to load it. */
export type RedisLoad = {
  readonly requests: number;
  readonly connections: number;
  readonly inFlight: number;
  /** The test, or a command and its words. */
  readonly what: readonly string[];
};

/** Requests answered per second, as redis-benchmark prints them. */
export async function redisBenchmark(load: RedisLoad): Promise<number> {
  const { port } = await startRedis(load.connections);
  const flags = { p: port, n: load.requests, c: load.connections, P: load.inFlight };
  const words = Object.entries(flags).flatMap(([name, value]) => [`-${name}`, `${value}`]);
  const { stdout } = await execa("redis-benchmark", [...words, "--csv", ...load.what]);
  // "test","rps", ... and below it one line of the same.
  const perSecond = /^"[^"]*","([\d.]+)"/m.exec(stdout.slice(stdout.indexOf("\n") + 1))?.[1];
  if (perSecond === undefined) throw new Error(`redis-benchmark said: ${stdout}`);
  return Number(perSecond);
}
