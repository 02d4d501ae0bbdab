/** percentiles: latencies in a histogram of constant size. Node's own, an HDR histogram in C: perf_hooks.createHistogram(). */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

/** Percentiles in milliseconds of `count` values; undefined when there was none. */
export type Percentiles = {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

/** Collects durations from 1 microsecond to 1 hour, exact to three digits. */
export class Latencies {
  readonly #histogram: RecordableHistogram = createHistogram({
    lowest: 1,
    highest: 3_600_000_000,
    figures: 3,
  });

  /** Adds one duration in milliseconds. */
  record(durationMs: number): void {
    this.#histogram.record(Math.max(1, Math.round(durationMs * 1_000)));
  }

  /** What was collected so far. */
  summary(): Percentiles | undefined {
    const histogram = this.#histogram;
    if (histogram.count === 0) return undefined;
    const at = (percentile: number): number => histogram.percentile(percentile) / 1_000;
    return {
      count: histogram.count,
      p50Ms: at(50),
      p90Ms: at(90),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: histogram.max / 1_000,
    };
  }
}
