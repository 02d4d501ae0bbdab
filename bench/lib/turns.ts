/** turns: in which order the contests have their rounds. */
import type { Contest } from "./contest.ts";

/** One round of a contest: a run of each of its contestants, one after the other. */
export type Turn = { readonly contest: Contest; readonly round: number; readonly rounds: number };

/**
 * The rounds of each contest spread evenly over the whole, so that one of five has a round in each fifth of the time. What disturbs a
 * virtual machine comes and goes within minutes: each contest gets its share of that, and its median is of the other rounds.
 */
export function turns(
  contests: readonly Contest[],
  roundsOf: (contest: Contest) => number,
): readonly Turn[] {
  const all = contests.flatMap((contest) => {
    const rounds = roundsOf(contest);
    return Array.from({ length: rounds }, (_, index) => ({
      turn: { contest, round: index + 1, rounds },
      at: (index + 0.5) / rounds,
    }));
  });
  return all.toSorted((one, other) => one.at - other.at).map(({ turn }) => turn);
}
