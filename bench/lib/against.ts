/** against: the ratios of a run beside those of an earlier one. Figures depend on the day, ratios should not. */
import type { Measured } from "./measure.ts";

/** A ratio that both runs have. */
export type Moved = {
  readonly what: string;
  readonly peer: string;
  readonly then: number;
  readonly now: number;
  /** By how much it has grown; negative when it has shrunk. 0.1 is 10 %. */
  readonly change: number;
  readonly isSame: boolean;
};

/** Further apart two runs do not agree. */
export const SAME_WITHIN = 0.15;

/** Compares line by line; lines that only one of them has, or that have no ratio, are left out. */
export function compareRatios(
  now: readonly Measured[],
  then: readonly Measured[],
): readonly Moved[] {
  const before = new Map(then.map((line) => [keyOf(line), line.ratio]));
  return now.flatMap((line) => {
    const earlier = before.get(keyOf(line));
    if (line.ratio === undefined || earlier === undefined) return [];
    const change = line.ratio / earlier - 1;
    return [
      {
        what: line.what,
        peer: line.peer?.name ?? "",
        ...{ then: earlier, now: line.ratio, change },
        isSame: Math.abs(change) <= SAME_WITHIN,
      },
    ];
  });
}

/** Several lines are called "the same". */
function keyOf({ contest, what, peer }: Measured): string {
  return [contest, what, peer?.name].join("\n");
}
