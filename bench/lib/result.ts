/** result: what a bench run prints with --json, and what docs/benchmarks.json holds. */
import type { Moved } from "./against.ts";
import type { Measured, MeasuredGrowth } from "./measure.ts";

/** A run, as data. */
export type BenchResult = {
  readonly version: 1;
  /** ISO 8601. */
  readonly date: string;
  readonly machine: {
    readonly kernel: string;
    readonly node: string;
    readonly cpus: number;
    readonly model: string;
    readonly memoryBytes: number;
    /** Of the tools and peers: Debian package to version, as far as they are installed that way. */
    readonly packages?: Readonly<Record<string, string>>;
  };
  readonly lines: readonly Measured[];
  readonly growth: readonly MeasuredGrowth[];
  /** With --against: the ratios of that run beside those of this one. */
  readonly against?: { readonly date: string; readonly ratios: readonly Moved[] };
};

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
