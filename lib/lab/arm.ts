/**
 * arm: runs one arm, inside its sandbox. The runner starts it as a program of its own; it answers with lines of JSON.
 */
import { writeSync } from "node:fs";
import { NeedsError } from "../kernel/errors.ts";
import { descriptorLimit } from "../kernel/process.ts";
import { enterSandbox, networkNamespace, type Rung } from "../kernel/sandbox.ts";
import { totalOf } from "../sockets/record.ts";
import { Bench, SkipArm } from "./bench.ts";
import type { ArmEvent, Sample } from "./events.ts";
import { loadLab } from "./load.ts";

/** What the runner wants, as JSON in the only argument. */
export type ArmOrder = {
  readonly lab: string;
  readonly arm: number;
  readonly params: Readonly<Record<string, number>>;
  readonly rung: Rung;
};

const SAMPLE_EVERY_MS = 25;

/** What labs may take for granted: the soft limit of nearly every login. */
const USUAL_LIMIT = 1_024;

/** Written at once: what was said before a crash is not lost. */
function emit(event: ArmEvent): void {
  writeSync(1, `${JSON.stringify(event)}\n`);
}

async function runArm(order: ArmOrder): Promise<void> {
  if (order.rung !== "here") await enterSandbox();
  emit({ event: "ready", netns: networkNamespace() });
  needDescriptors();
  const arm = (await loadLab(order.lab)).arms[order.arm];
  if (arm === undefined) throw new Error(`lab ${order.lab} has no arm ${order.arm}`);
  const bench = new Bench(order.rung, emit);
  const stopSampling = sample(bench);
  try {
    await arm.run(bench, order.params);
  } finally {
    stopSampling();
    await bench.close();
  }
  // Only now: an arm that broke off, or was skipped, has a reason of its own.
  bench.requireMeasured();
  emit({ event: "end" });
}

/** Node raises its soft limit to the hard one by itself; what cannot be raised is often what `ulimit -n` has left in a shell. */
function needDescriptors(): void {
  const { hard } = descriptorLimit();
  if (hard < USUAL_LIMIT)
    throw new NeedsError(
      `needs a hard limit of ${USUAL_LIMIT} descriptors; here it is ${hard} (ulimit -Hn): a new shell has more again`,
    );
}

/** Looks at the sockets now and then, never spending more than a twentieth of the time on it. */
function sample(bench: Bench): () => void {
  const startMs = performance.now();
  let timer: NodeJS.Timeout | undefined;
  // Of the time before the first socket only the end is worth telling: how everything looked at rest.
  let unsaid: Sample[] = [];
  let hasBegun = false;
  const look = (): number => {
    const beganMs = performance.now();
    const sample = bench.sample(Math.round(beganMs - startMs));
    hasBegun ||= totalOf(sample.server) + totalOf(sample.clients) > 0;
    unsaid = hasBegun ? [...unsaid, sample] : [sample];
    if (!hasBegun) return performance.now() - beganMs;
    for (const one of unsaid.splice(0)) emit({ event: "sample", sample: one });
    return performance.now() - beganMs;
  };
  const goOn = (): void => {
    timer = setTimeout(goOn, Math.max(SAMPLE_EVERY_MS, 20 * look()));
  };
  goOn();
  return () => {
    clearTimeout(timer);
    look();
  };
}

/** Runs what the command line orders; never returns. */
export async function armMain(): Promise<never> {
  try {
    await runArm(JSON.parse(process.argv[2] ?? "{}") as ArmOrder);
  } catch (error) {
    // What this machine lacks is no failure of the lab.
    if (error instanceof SkipArm || error instanceof NeedsError)
      emit({ event: "skipped", reason: error.message });
    else emit({ event: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
  process.exit(0);
}
