/** rounds: from what came of each round of a contestant to the values of a figure. */
import { missingIn, type Figures, type Line, type Outcome } from "./contest.ts";

const FAILED = "failed: ";

/** The reason of a run that has broken, which is more than having no figure. */
export function failure(why: string): string {
  return `${FAILED}${why}`;
}

/** Has one of its programs failed? Then it is not a tool that is missing. */
export function hasFailed({ missing }: { readonly missing?: string }): boolean {
  return missing?.startsWith(FAILED) === true;
}

/**
 * Why there can be no median of so many rounds: one has failed, or no majority has figures. A minority without can be lived with: they
 * are known to be worse than the others, and a median asks for no more.
 */
export function whyNoMedian(
  outcomes: readonly Outcome[],
  rounds = outcomes.length,
): string | undefined {
  const reasons = outcomes.flatMap((outcome) => missingIn(outcome) ?? []);
  const failed = reasons.find((missing) => hasFailed({ missing }));
  return failed ?? (2 * reasons.length >= rounds ? reasons[0] : undefined);
}

/** A figure of each round, undefined where it has measured nothing; or why they have no median. */
export function valuesOf(
  outcomes: readonly Outcome[],
  figure: string,
): readonly (number | undefined)[] | string {
  const missing = whyNoMedian(outcomes);
  if (missing !== undefined) return missing;
  const values = outcomes.map((outcome) =>
    missingIn(outcome) === undefined ? ((outcome as Figures)[figure] ?? NaN) : undefined,
  );
  // NaN is null after its way through JSON.
  const isWhole = values.every((value) => value === undefined || Number.isFinite(value));
  return isWhole ? values : failure(`there is no figure ${figure}`);
}

/** Worse than any figure: what a round that has none counts as. */
export function worstOf(better: Line["better"]): number {
  return better === "more" ? 0 : Infinity;
}

/** Ours beside theirs, round by round, more is better. A round in which neither has a figure tells nothing, and is left out. */
export function ratios(
  better: Line["better"],
  ours: readonly (number | undefined)[],
  theirs: readonly (number | undefined)[],
): readonly number[] {
  const worst = worstOf(better);
  return ours
    .map((figure, round) => {
      const [value, other] = [figure ?? worst, theirs[round] ?? worst];
      return better === "more" ? value / other : other / value;
    })
    .filter((ratio) => !Number.isNaN(ratio));
}
