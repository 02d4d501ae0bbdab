/** clock: how long something takes. */
import { execFileSync } from "node:child_process";
import { median } from "./statistics.ts";

/** The first run, for programs that start, and the median of all, for those that go on; in milliseconds. */
export function timesMs(
  runs: number,
  action: () => unknown,
): { readonly first: number; readonly median: number } {
  const times = Array.from({ length: runs }, () => timeMs(action));
  return { first: times[0] ?? NaN, median: median(times) };
}

/** One run, in milliseconds. */
export function timeMs(action: () => unknown): number {
  const startMs = performance.now();
  action();
  return performance.now() - startMs;
}

/** A whole process, from start to end. */
export function command(file: string, ...args: readonly string[]): () => unknown {
  return () => execFileSync(file, args, { stdio: "ignore" });
}
