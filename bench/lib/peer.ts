/** peer: the C programs, compiled once for each bench run. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { NeedsError } from "../../lib/kernel/errors.ts";
import type { Figures, Tool } from "./contest.ts";
import { allowedCores } from "./cores.ts";
import { untilListening } from "./listening.ts";

/** What compiling needs. */
export const COMPILER: readonly Tool[] = [{ file: "gcc", package: "gcc libc6-dev" }];

const SOURCES = join(import.meta.dirname, "../../../bench/c");
const FOLDER_VARIABLE = "BENCH_PEERS";

/** Compiles them into a folder; from then on they can be run, here and in every process started from here. */
export function compilePeers(folder: string): void {
  for (const name of ["peer", "load", "server", "distance", "loopback"]) {
    const words = ["-O2", "-pthread", "-o", join(folder, name), join(SOURCES, `${name}.c`)];
    if (spawnSync("gcc", words, { stdio: "inherit" }).status !== 0)
      throw new NeedsError(
        `gcc cannot compile bench/c/${name}.c; its words are above. apt-get install libc6-dev`,
      );
  }
  process.env[FOLDER_VARIABLE] = folder;
}

/** What came of connecting and closing; `error` is an errno, or empty when the time was over. */
export type PeerSaid = {
  readonly opened: number;
  readonly durationMs: number;
  readonly error: string;
};

/** Connects and closes for so long, or until the first error. */
export async function runPeer(durationMs: number, ...words: readonly string[]): Promise<PeerSaid> {
  return (await run("peer", [`${durationMs}`, ...words])) as PeerSaid;
}

/** How a server of length-prefixed JSON is to be loaded. */
export type Load = {
  readonly requests: number;
  readonly connections: number;
  readonly inFlight: number;
  /** Of the content that is to be echoed. */
  readonly bytes: number;
};

/** Loads such a server: echoes per second. */
export async function runLoad(port: number, load: Load): Promise<{ readonly perSecond: number }> {
  const { requests, connections, inFlight, bytes } = load;
  const words = [port, requests, connections, inFlight, bytes].map(String);
  const { answered = NaN, durationMs = NaN } = (await run("load", words)) as Figures;
  return { perSecond: (answered * 1_000) / durationMs };
}

const SERVER_PORT = 7_000;

/** Starts the server of length-prefixed JSON in this sandbox, and waits until it listens. */
export async function startPeerServer(): Promise<{ readonly port: number }> {
  spawn(program("server"), [`${SERVER_PORT}`], { stdio: ["ignore", "ignore", "inherit"] });
  await untilListening(SERVER_PORT);
  return { port: SERVER_PORT };
}

/** How long a cache line needs from the first core to the last, in nanoseconds. */
export async function runDistance(): Promise<Figures> {
  const cores = allowedCores();
  return (await run("distance", [`${cores[0]}`, `${cores.at(-1)}`])) as Figures;
}

/** What 40 bytes cost the kernel, from one end of a connection to the other, in nanoseconds. */
export async function runLoopback(): Promise<Figures> {
  return (await run("loopback", [])) as Figures;
}

async function run(name: string, words: readonly string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(program(name), words);
  return JSON.parse(stdout);
}

function program(name: string): string {
  const folder = process.env[FOLDER_VARIABLE];
  if (folder === undefined) throw new Error("the C programs were not compiled");
  return join(folder, name);
}
