/**
 * measure: all runs of all contests. Within a contest the contestants take turns: A B C, A B C. What disturbs one of them disturbs all.
 */
import { runInArena, type Entry } from "./arena.ts";
import {
  type Contest,
  type Contestant,
  type Growth,
  type Line,
  type Outcome,
  type Reach,
  type Source,
  type Tool,
} from "./contest.ts";
import { PINNING } from "./cores.ts";
import { failure, ratios, valuesOf, whyNoMedian, worstOf } from "./rounds.ts";
import { median, spread, type Spread } from "./statistics.ts";
import { missingTools } from "./tools.ts";
import { turns, type Turn } from "./turns.ts";

/** A line of the table, measured. */
export type Measured = {
  readonly contest: string;
  readonly what: string;
  readonly unit: Line["unit"];
  readonly better: Line["better"];
  readonly runs: number;
  readonly ours?: Spread;
  readonly peer?: Spread & { readonly name: string };
  readonly isFloor?: boolean;
  /** Why there is no peer's figure, or none of ours either. */
  readonly missing?: string;
  /** Ours beside the peer's, run by run, more is better: the median. */
  readonly ratio?: number;
  readonly reach?: Reach & { readonly isReached?: boolean };
  readonly limit: string;
};

/** Growth, measured: one figure for each load. */
export type MeasuredGrowth = Omit<Growth, "source" | "loads"> & {
  readonly contest: string;
  readonly points: readonly { readonly load: number; readonly value: number }[];
  /** From the first load to the last: 1 is as expected, 2 is twice as bad. */
  readonly excess: number;
};

/** How to measure. */
export type Effort = {
  readonly isQuick: boolean;
  /** Instead of each contest's own number. */
  readonly runs: number | undefined;
  readonly withGrowth: boolean;
  readonly say: (text: string) => void;
  /** Ends it: then `measure` rejects. */
  readonly signal: AbortSignal;
};

/** By contestant: what came of each of its rounds. */
type Runs = Readonly<Record<string, readonly Outcome[]>>;

/** Measures all lines of the contests and, if asked to, how their figures grow. */
export async function measure(
  contests: readonly Contest[],
  effort: Effort,
): Promise<{ readonly lines: readonly Measured[]; readonly growth: readonly MeasuredGrowth[] }> {
  const runs = await allRuns(contests, effort);
  const runsOf = (contest: Contest): Runs => runs.get(contest) ?? {};
  const lines = contests.flatMap((contest) =>
    contest.lines.flatMap((line) => measured(contest, line, runsOf(contest), !effort.isQuick)),
  );
  const growth: MeasuredGrowth[] = [];
  if (effort.withGrowth)
    for (const contest of contests)
      growth.push(...(await measureGrowth(contest, runsOf(contest), effort)));
  return { lines, growth };
}

async function allRuns(
  contests: readonly Contest[],
  effort: Effort,
): Promise<ReadonlyMap<Contest, Runs>> {
  const runs = new Map(contests.map((contest) => [contest, {}]));
  const roundsOf = (contest: Contest): number => effort.runs ?? (effort.isQuick ? 1 : contest.runs);
  for (const turn of turns(contests, roundsOf))
    await playRound(turn, runs.get(turn.contest) ?? {}, effort);
  return runs;
}

/** Adds a run of each contestant to `runs`. Who cannot have a median any more does not run again. */
async function playRound(
  { contest, round, rounds }: Turn,
  runs: Record<string, Outcome[]>,
  { isQuick, say, signal }: Effort,
): Promise<void> {
  const load = isQuick ? contest.load.quick : contest.load.full;
  for (const [name, contestant] of Object.entries(contest.contestants)) {
    const before = (runs[name] ??= []);
    const missing = missingTools(needsOf(contestant)) ?? whyNoMedian(before, rounds);
    if (missing === undefined) say(`${contest.name}: ${name}, run ${round} of ${rounds}`);
    before.push(
      missing === undefined
        ? await outcomeOf({ contest, contestant: name, load }, signal)
        : { missing },
    );
  }
}

/** What fails costs its own lines, not those of all others. Rejects only when `signal` aborts. */
async function outcomeOf(entry: Entry, signal: AbortSignal): Promise<Outcome> {
  try {
    return await runInArena(entry, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { missing: failure((error as Error).message.trim()) };
  }
}

function needsOf({ needs = [], isOnOneCore = false }: Partial<Contestant> = {}): readonly Tool[] {
  return isOnOneCore ? [...needs, PINNING] : needs;
}

function measured(contest: Contest, line: Line, runs: Runs, mayJudge: boolean): Measured[] {
  const { what, unit, better, limit } = line;
  const ours = valuesIn(runs, line.ours);
  const base = { contest: contest.name, what, unit, better, limit, runs: ours.length };
  if (typeof ours === "string")
    return [{ ...base, runs: 0, missing: ours, ...verdict(line, NaN, undefined, false) }];
  const theirs = line.peer && valuesIn(runs, line.peer.source);
  const us = spread(ours, worstOf(better));
  if (line.peer === undefined || theirs === undefined)
    return [{ ...base, ours: us, ...verdict(line, us.median, undefined, mayJudge) }];
  if (typeof theirs === "string")
    return [
      { ...base, ours: us, missing: theirs, ...verdict(line, us.median, undefined, mayJudge) },
    ];
  const ratio = median(ratios(better, ours, theirs));
  const peer = { ...spread(theirs, worstOf(better)), name: line.peer.name };
  if (line.isFloor === true) return [{ ...base, ours: us, peer, isFloor: true }];
  return [{ ...base, ours: us, peer, ratio, ...verdict(line, us.median, ratio, mayJudge) }];
}

function valuesIn(runs: Runs, [contestant, figure]: Source): ReturnType<typeof valuesOf> {
  return valuesOf(runs[contestant] ?? [{ missing: failure(`${contestant} did not run`) }], figure);
}

/** A quick run measures something smaller, so it judges nothing. */
function verdict(
  { reach }: Line,
  ours: number,
  ratio: number | undefined,
  mayJudge: boolean,
): Pick<Measured, "reach"> {
  if (reach === undefined) return {};
  if (!mayJudge) return { reach };
  if ("ratio" in reach)
    return { reach: ratio === undefined ? reach : { ...reach, isReached: ratio >= reach.ratio } };
  const isReached = "atMost" in reach ? ours <= reach.atMost : ours >= reach.atLeast;
  return { reach: { ...reach, isReached } };
}

/** The same at growing loads. What the table has measured is taken from there; small loads, which chance moves more, get three runs. */
async function measureGrowth(
  contest: Contest,
  measuredRuns: Runs,
  { isQuick, say, signal }: Effort,
): Promise<readonly MeasuredGrowth[]> {
  const seen = new Map<string, readonly Outcome[]>();
  const result: MeasuredGrowth[] = [];
  for (const { source, loads, ...growth } of contest.growth ?? []) {
    const [contestant, figure] = source;
    if (missingTools(needsOf(contest.contestants[contestant])) !== undefined) continue;
    const points: { load: number; value: number }[] = [];
    for (const load of isQuick ? loads.slice(0, 1) : loads) {
      const key = `${contestant} ${load}`;
      let runs = load === contest.load.full ? measuredRuns[contestant] : seen.get(key);
      if (runs === undefined) {
        say(`${contest.name}: growth, ${key}`);
        runs = await runsOf({ contest, contestant, load }, signal);
      }
      seen.set(key, runs);
      const values = valuesOf(runs, figure);
      const worst = worstOf(growth.kind === "rate" ? "more" : "less");
      if (typeof values !== "string") points.push({ load, value: spread(values, worst).median });
    }
    result.push({
      ...growth,
      contest: contest.name,
      points,
      excess: excessOf(growth.kind, points),
    });
  }
  return result;
}

/** Of a small load several; of others one, which takes long enough. */
async function runsOf(entry: Entry, signal: AbortSignal): Promise<readonly Outcome[]> {
  const count = entry.load < entry.contest.load.full ? SMALL_LOAD_RUNS : 1;
  const outcomes: Outcome[] = [];
  while (outcomes.length < count && whyNoMedian(outcomes, count) === undefined)
    outcomes.push(await outcomeOf(entry, signal));
  return outcomes;
}

const SMALL_LOAD_RUNS = 3;

function excessOf(kind: Growth["kind"], points: MeasuredGrowth["points"]): number {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return NaN;
  const grown = last.value / first.value;
  if (kind === "total") return grown / (last.load / first.load);
  return kind === "rate" ? 1 / grown : grown;
}
