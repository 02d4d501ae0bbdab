/** peer: the C program, compiled once for each bench run. */
import { execFile } from "node:child_process";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Figures, Tool } from "./contest.ts";

/** What compiling needs. */
export const COMPILER: readonly Tool[] = [{ file: "gcc", package: "gcc libc6-dev" }];

const PATH_VARIABLE = "BENCH_PEER";

/** Compiles it into a folder; from then on `runPeer` works, here and in every process started from here. */
export function compilePeer(folder: string): void {
  const source = join(import.meta.dirname, "../../../bench/c/peer.c");
  const path = join(folder, "peer");
  execFileSync("gcc", ["-O2", "-pthread", "-o", path, source], { stdio: "inherit" });
  process.env[PATH_VARIABLE] = path;
}

/** Runs it: connections per second, and how long it took in all. */
export async function runPeer(...words: readonly string[]): Promise<Figures> {
  const path = process.env[PATH_VARIABLE];
  if (path === undefined) throw new Error("the C program was not compiled");
  const { stdout } = await promisify(execFile)(path, words);
  const { opened, durationMs } = JSON.parse(stdout) as { opened: number; durationMs: number };
  return { perSecond: (opened * 1_000) / durationMs, seconds: durationMs / 1_000, opened };
}
