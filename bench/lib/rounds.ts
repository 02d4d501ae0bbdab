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
 * Why there can be no median of so many rounds: one has failed, or no majority has figures. A minority without can be lived with:
 * whatever they would have been, a median is told by the others as soon as it is known on which side of it these are.
 */
export function whyNoMedian(
  outcomes: readonly Outcome[],
  rounds = outcomes.length,
): string | undefined {
  const reasons = outcomes.flatMap((outcome) => missingIn(outcome) ?? []);
  const failed = reasons.find((missing) => hasFailed({ missing }));
  return failed ?? (2 * reasons.length >= rounds ? reasons[0] : undefined);
}

/** A figure in each round, the worst that there can be in a round without: 0 or Infinity. Or why they have no median. */
export function valuesOf(
  outcomes: readonly Outcome[],
  figure: string,
  better: Line["better"],
): readonly number[] | string {
  const missing = whyNoMedian(outcomes);
  if (missing !== undefined) return missing;
  const worst = worstOf(better);
  const values = outcomes.map((outcome) =>
    missingIn(outcome) === undefined ? (outcome as Figures)[figure] : worst,
  );
  // NaN is null after its way through JSON.
  const isWhole = values.every((value) => typeof value === "number" && !Number.isNaN(value));
  return isWhole ? (values as number[]) : failure(`there is no figure ${figure}`);
}

/** Stands for the figure of a round that has none. */
export function worstOf(better: Line["better"]): number {
  return better === "more" ? 0 : Infinity;
}

/** Ours beside theirs, round by round, more is better. A round in which neither has a figure tells nothing, and is left out. */
export function ratios(
  better: Line["better"],
  ours: readonly number[],
  theirs: readonly number[],
): readonly number[] {
  return ours
    .map((value, round) => {
      const other = theirs[round] ?? NaN;
      return better === "more" ? value / other : other / value;
    })
    .filter((ratio) => !Number.isNaN(ratio));
}
