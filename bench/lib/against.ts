/** against: the ratios of a run beside those of an earlier one. Figures depend on the day, ratios should not. */
import type { Measured } from "./measure.ts";
import type { BenchResult, Comparison } from "./result.ts";

/** A ratio of the earlier run, and what has become of it. */
export type Moved = {
  readonly what: string;
  readonly peer: string;
  readonly then: number;
  /** Undefined when it could not be measured, for want of a tool or of time. */
  readonly now: number | undefined;
  /** By how much it has grown; negative when it has shrunk. 0.1 is 10 %. NaN without a ratio now. */
  readonly change: number;
  /** The same of the peer's own figure: what the machine has done to a program that is not ours. */
  readonly peerChange: number;
  readonly isSame: boolean;
};

/** Further apart two runs do not agree. */
export const SAME_WITHIN = 0.15;

/**
 * Compares with the one of some runs whose machine is most like that of now. What programs that are not ours need says which one
 * that is: the run whose peers are nearest, whatever its ratios. `runs` must not be empty.
 */
export function compareWithNearest(
  now: readonly Measured[],
  runs: readonly BenchResult[],
): Comparison {
  const [nearest, ...others] = runs
    .map((run) => ({ run, date: run.date, peersApart: peersApart(now, run.lines) }))
    .sort((one, other) => one.peersApart - other.peersApart);
  if (nearest === undefined) throw new RangeError("no run to compare with");
  return {
    ...{ date: nearest.date, peersApart: nearest.peersApart },
    others: others.map(({ date, peersApart }) => ({ date, peersApart })),
    ratios: compareRatios(now, nearest.run.lines),
    gone: goneFrom(now, nearest.run.lines),
  };
}

/** By which factor the figures of the peers differ, in the geometric mean of all that both runs have, less 1: 0.1 is 10 %. Infinity where they share none. */
export function peersApart(now: readonly Measured[], then: readonly Measured[]): number {
  const peers = new Map(then.map((line) => [keyOf(line), line.peer?.median]));
  const distances = now.flatMap((line) => {
    const distance = Math.abs(
      Math.log((line.peer?.median ?? NaN) / (peers.get(keyOf(line)) ?? NaN)),
    );
    return Number.isNaN(distance) ? [] : [distance];
  });
  if (distances.length === 0) return Infinity;
  return Math.expm1(distances.reduce((sum, each) => sum + each, 0) / distances.length);
}

/**
 * Compares line by line, for the contests that were held now. A line that has lost its ratio is not the same; one that has none by
 * design any more, or that no contest has, is left out.
 */
export function compareRatios(
  now: readonly Measured[],
  then: readonly Measured[],
): readonly Moved[] {
  const names = new Set(now.map(nameOf));
  const lines = new Map(now.map((line) => [keyOf(line), line]));
  return then.flatMap((line) => {
    if (line.ratio === undefined || !names.has(nameOf(line))) return [];
    const found = lines.get(keyOf(line));
    if (found?.isFloor === true) return [];
    const change = changeOf(found?.ratio, line.ratio);
    return [
      {
        what: line.what,
        peer: line.peer?.name ?? "",
        ...{ then: line.ratio, now: found?.ratio, change },
        peerChange: changeOf(found?.peer?.median, line.peer?.median),
        isSame: Math.abs(change) <= SAME_WITHIN,
      },
    ];
  });
}

/** What had a ratio, in a contest that was held now, and is measured no more, or by another name. */
function goneFrom(now: readonly Measured[], then: readonly Measured[]): readonly string[] {
  const contests = new Set(now.map(({ contest }) => contest));
  const names = new Set(now.map(nameOf));
  return then.flatMap((line) =>
    line.ratio !== undefined && contests.has(line.contest) && !names.has(nameOf(line))
      ? [line.what]
      : [],
  );
}

/** Where the peer could not be measured, a line still has this. */
export function nameOf({ contest, what }: Pick<Measured, "contest" | "what">): string {
  return `${contest}\n${what}`;
}

function changeOf(now = NaN, then = NaN): number {
  return now / then - 1;
}

/** What tells a line from all others of a run, and finds it in another: several are called "the same". */
export function keyOf({
  contest,
  what,
  peer,
}: Pick<Measured, "contest" | "what"> & {
  readonly peer?: { readonly name: string } | undefined;
}): string {
  return [nameOf({ contest, what }), peer?.name].join("\n");
}
