/**
 * distance: how far apart the cores are on which two programs talk to each other, in nanoseconds for a cache line.
 *
 * On a virtual machine this changes while nobody does anything: the host moves its processors, and two that shared a cache are on different
 * chips a second later. What the kernel does for a connection between them then takes two and a half times as long,
 * what a program does by itself takes as long as before. So a ratio depends on it, and belongs to one distance.
 */
import { setTimeout as pauseMs } from "node:timers/promises";
import { allowedCores } from "./cores.ts";
import { isCompiled, runDistance } from "./peer.ts";

/** Between the first and the last core that this process may use; undefined with one core, or without a compiler. */
export async function coreDistanceNs(): Promise<number | undefined> {
  const cores = allowedCores();
  const [first, last] = [cores[0], cores.at(-1)];
  if (first === undefined || last === undefined || first === last || !isCompiled())
    return undefined;
  return runDistance(first, last);
}

/** Near and far are a factor of four apart or more, and neither varies by more than this. */
const ALIKE_WITHIN = 1.7;

/** Whether two distances, in nanoseconds, are of the same kind. */
export function areAlike(one: number, other: number): boolean {
  return Math.max(one, other) <= ALIKE_WITHIN * Math.min(one, other);
}

const POLL_MS = 250;

/** Runs what depends on the distance when it is as wanted, and once more if it has changed meanwhile. */
export class AtDistance {
  /** Nanoseconds; undefined where it cannot be measured: then nothing waits. */
  readonly wantedNs: number | undefined;
  readonly #measureNs: () => Promise<number | undefined>;
  readonly #patienceMs: number;

  constructor(
    wantedNs: number | undefined,
    { measureNs = coreDistanceNs, patienceMs = 180_000 } = {},
  ) {
    this.wantedNs = wantedNs;
    this.#measureNs = measureNs;
    this.#patienceMs = patienceMs;
  }

  /** What `work` resolves to, from the first time that the cores were as far apart before it and after it; undefined when none was in time. */
  async run<T>(work: () => Promise<T>): Promise<T | undefined> {
    const endMs = performance.now() + this.#patienceMs;
    while (performance.now() < endMs) {
      if (!(await this.#isHere())) {
        await pauseMs(POLL_MS);
        continue;
      }
      const result = await work();
      if (await this.#isHere()) return result;
    }
    return undefined;
  }

  async #isHere(): Promise<boolean> {
    if (this.wantedNs === undefined) return true;
    const now = await this.#measureNs();
    return now !== undefined && areAlike(now, this.wantedNs);
  }
}
