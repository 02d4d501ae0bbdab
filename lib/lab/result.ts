/** result: what a lab has shown, as plain data. Printed as it is by `lab run --json`; the version changes when the shape does. */
import type { Rung } from "../kernel/sandbox.ts";
import type { Claim } from "./claim.ts";
import type { ArmKind } from "./define.ts";
import type { Rules, Sample, Setting } from "./events.ts";

/** `skipped`: could not be shown here, `reason` says why. */
export type Verdict = "held" | "failed" | "skipped";

/** The `reason` of an arm that a Ctrl-C has ended. It has failed, for nobody knows how it would have ended. */
export type Interrupted = "interrupted";

/** One arm. */
export type ArmResult = {
  readonly kind: ArmKind;
  readonly about: string;
  readonly verdict: Verdict;
  /** Why it was skipped or has failed beyond its claims. */
  readonly reason?: string;
  /** Parameters of its network, in the order in which it set them. */
  readonly settings: readonly Setting[];
  /** Rules of its packet filter, likewise. */
  readonly rules: readonly Rules[];
  readonly claims: readonly Claim[];
  /** Parts that could not be shown here, and why. */
  readonly notes: readonly string[];
  /** What could be seen while it ran; at most `TIMELINE_SAMPLES`, evenly thinned out. */
  readonly timeline: readonly Sample[];
  readonly durationMs: number;
  /** Processes that were still there after the end. Has to be empty. */
  readonly leftBehind: readonly string[];
};

/** One lab. */
export type LabResult = {
  readonly version: 1;
  readonly lab: string;
  readonly summary: string;
  /** Which of several runs of the same lab, from 1. */
  readonly run: number;
  readonly verdict: Verdict;
  readonly params: Readonly<Record<string, number>>;
  readonly environment: { readonly kernel: string; readonly node: string; readonly sandbox: Rung };
  readonly arms: readonly ArmResult[];
  readonly durationMs: number;
};

/** A timeline is for looking at, and for a page: more points than this show nothing more. */
export const TIMELINE_SAMPLES = 100;

/** Keeps the first and the last sample and thins the others out evenly. */
export function thinnedOut(samples: readonly Sample[]): readonly Sample[] {
  const step = Math.max(1, (samples.length - 1) / (TIMELINE_SAMPLES - 1));
  const kept = Math.min(samples.length, TIMELINE_SAMPLES);
  return Array.from({ length: kept }, (_, index) => samples[Math.round(index * step)]).filter(
    (sample) => sample !== undefined,
  );
}

/** The verdict on an arm: it holds when it ran to its end, made claims, and all of them held. One that did not has a `reason`. */
export function armVerdict(arm: Omit<ArmResult, "verdict">, wasSkipped: boolean): Verdict {
  if (arm.leftBehind.length > 0) return "failed";
  if (wasSkipped) return "skipped";
  const isWhole = arm.reason === undefined && arm.claims.length > 0;
  return isWhole && arm.claims.every((claim) => claim.held) ? "held" : "failed";
}

/** The verdict on a lab: failed when any arm has failed, skipped when none could run. */
export function labVerdict(arms: readonly ArmResult[]): Verdict {
  if (arms.some((arm) => arm.verdict === "failed")) return "failed";
  return arms.some((arm) => arm.verdict === "held") ? "held" : "skipped";
}
