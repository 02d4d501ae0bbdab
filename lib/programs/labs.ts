/** labs: runs many labs, several times if asked to, several at once if asked to. Prints nothing. */
import { setMaxListeners } from "node:events";
import type { Lab } from "../lab/define.ts";
import type { LabResult } from "../lab/result.ts";
import { runLab, type RunOptions } from "../lab/run.ts";

/** How to run them. */
export type LabsOptions = Pick<RunOptions, "rung" | "params" | "select" | "signal"> & {
  /** How often each; a lab that holds in all its runs is not flaky. */
  readonly repeat: number;
  /** How many at the same time. Each has a network of its own, so they share nothing but the processors. */
  readonly jobs: number;
  /** Callbacks for one run of one lab. */
  readonly follow?: (lab: Lab) => Pick<RunOptions, "onArm" | "onEvent" | "onArmEnd">;
  /** Told after each run. */
  readonly onResult?: (result: LabResult, done: number, all: number) => void;
};

/** Runs them; resolves with one result for each run, in the order of `labs`. Stops early when `signal` is aborted. */
export async function runLabs(
  labs: readonly Lab[],
  options: LabsOptions,
): Promise<readonly LabResult[]> {
  const { rung, params, select, signal, repeat, jobs, follow, onResult } = options;
  setMaxListeners(0, signal); // One for each job: no leak.
  const runs = labs.flatMap((lab) =>
    Array.from({ length: repeat }, (_, at) => ({ lab, run: at + 1 })),
  );
  const results: LabResult[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let one = runs[next]; one !== undefined && !signal.aborted; one = runs[next]) {
      const { lab, run } = one;
      const index = next;
      next += 1;
      const result = await runLab(lab, {
        rung,
        signal,
        run,
        ...(params === undefined ? {} : { params }),
        ...(select === undefined ? {} : { select }),
        ...follow?.(lab),
      });
      results[index] = result;
      done += 1;
      onResult?.(result, done, runs.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, runs.length) }, worker));
  return results.filter((result) => (result as LabResult | undefined) !== undefined);
}
