/** result: what a bench run prints with --json, and what docs/benchmarks holds. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Moved } from "./against.ts";
import type { Machine } from "./machine.ts";
import type { Measured, MeasuredGrowth } from "./measure.ts";

/** A run, as data. */
export type BenchResult = {
  readonly version: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine & {
    /** Of the tools and peers: Debian package to version, as far as they are installed that way. */
    readonly packages?: Readonly<Record<string, string>>;
  };
  readonly lines: readonly Measured[];
  readonly growth: readonly MeasuredGrowth[];
  readonly against?: Comparison;
};

/** With --against: the ratios of the nearest of some runs beside those of this one. */
export type Comparison = Apart & {
  readonly others: readonly Apart[];
  readonly ratios: readonly Moved[];
  /** What that run has a ratio of, and no contest measures any more. */
  readonly gone: readonly string[];
};

/** A run, and how far its peers are from those of now: 0.1 is 10 %, Infinity (null as JSON) that they share none. */
export type Apart = { readonly date: string; readonly peersApart: number };

/** The run in a file, or those in the files of a folder that are called *.json, the newest first. Throws what reading them throws. */
export function resultsIn(path: string): readonly BenchResult[] {
  const files = statSync(path).isDirectory()
    ? readdirSync(path).flatMap((name) => (name.endsWith(".json") ? [join(path, name)] : []))
    : [path];
  return files.map(resultIn).sort((one, other) => other.date.localeCompare(one.date));
}

function resultIn(file: string): BenchResult {
  const result: unknown = JSON.parse(readFileSync(file, "utf8"));
  if (isResult(result)) return result;
  throw new Error(`${file} is not what bench --json prints`);
}

/** Is it one, as far as a comparison needs it? */
export function isResult(value: unknown): value is BenchResult {
  const { version, date, lines } = (value ?? {}) as Partial<BenchResult>;
  if (version !== 1 || typeof date !== "string" || !Array.isArray(lines)) return false;
  return lines.every((line: Partial<Measured> | null) => {
    const { contest, what, ratio } = line ?? {};
    const isNamed = typeof contest === "string" && typeof what === "string";
    return isNamed && (ratio === undefined || Number.isFinite(ratio));
  });
}
