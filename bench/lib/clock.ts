/** clock: how long something takes. */
import { execFileSync } from "node:child_process";
import { median } from "./statistics.ts";

/**
 * Several runs of it, in milliseconds: the median, and the fastest. What the neighbours of a virtual machine do to a short run only adds to
 * it, and the fastest has had the least of that; but only the median has the program's own collections of garbage.
 */
export function timesMs(
  runs: number,
  action: () => unknown,
): { readonly fastest: number; readonly median: number } {
  const times = Array.from({ length: runs }, () => timeMs(action));
  return { fastest: Math.min(...times), median: median(times) };
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
