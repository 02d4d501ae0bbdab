/**
 * bench: measures everything that has a number to reach, side by side with other programs, and prints a table or JSON.
 *
 * Contestants run in turn, each run in a sandbox of its own, and the rounds of each contest are spread over the whole. Peers
 * that are not installed are named with the Debian package that brings them.
 *
 * CAVEAT  figures of a machine that does something else meanwhile say little; ratios say a little more
 * SEE     docs/benchmarks.md
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flag, integer, optional, toggle, words } from "../lib/cli/flags.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Io } from "../lib/cli/io.ts";
import { compareWithNearest, nameOf } from "./lib/against.ts";
import type { Contest } from "./lib/contest.ts";
import type { Effort } from "./lib/measure.ts";
import { resultsIn, type BenchResult } from "./lib/result.ts";

const flags = {
  only: flag(names, [], {
    about: "Only these contests, with commas between",
    metavar: "NAMES",
    defaultText: "all; with --quick all but demo and labs",
  }),
  runs: optional(integer(1, 100), {
    about: "Runs of each contestant",
    metavar: "N",
    defaultText: "1 to 23, each contest its own",
  }),
  growth: toggle({ about: "Also measure everything at a tenth and a hundredth of its load" }),
  quick: toggle({ about: "Everything small and once, to see that it works; judges nothing" }),
  against: optional(words, {
    about:
      "Compare the ratios with those of an earlier --json, of several in a folder with the one of the most similar machine; " +
      "ends with 1 when one is not within 15 %",
    metavar: "PATH",
  }),
  list: toggle({ about: "List the contests" }),
  json: toggle({ about: "Print JSON" }),
};

function names(text: string): readonly string[] {
  const all = text.split(",").filter((name) => name !== "");
  if (all.length === 0) throw new Error("expected names of contests, got none; --list has them");
  return all;
}

await main(
  command({
    name: "bench",
    summary: "measure everything that has a number to reach, beside other programs",
    flags,
    examples: [
      ["make bench", "everything: 20 to 40 minutes"],
      ["make bench ARGS=--quick", "does it work?"],
      ['make bench ARGS="--only bomb,fill"', "two of them"],
      ['make bench ARGS="--growth --json"', "with growth, as data"],
      ['make bench ARGS="--against docs/benchmarks"', "does it hold on another day?"],
    ],
    run: async (values, io) => {
      const { CONTESTS } = await import("./rows/index.ts");
      if (values.list) {
        io.out(CONTESTS.map(({ name }) => name).join("\n"));
        return 0;
      }
      const chosen = choose(CONTESTS, values);
      const earlier = earlierRuns(values.against, values.quick, chosen);
      const result = await bench(chosen, {
        isQuick: values.quick,
        runs: values.runs,
        withGrowth: values.growth,
        say: (text) => io.live(`bench: ${text}`),
        signal: io.signal,
      }).catch((error: unknown) => {
        if (io.signal.aborted) return undefined;
        throw error;
      });
      if (result === undefined) return 130;
      return show(
        earlier.length === 0
          ? result
          : { ...result, against: compareWithNearest(result.lines, earlier) },
        values,
        io,
      );
    },
  }),
);

/** Prints it; returns the exit code. */
async function show(
  result: BenchResult,
  { json, quick }: { readonly json: boolean; readonly quick: boolean },
  io: Io,
): Promise<number> {
  const { contestTable, growthTable, movedTable } = await import("./lib/table.ts");
  const { hasFailed } = await import("./lib/rounds.ts");
  const { lines, growth, against } = result;
  if (quick) io.err("bench: --quick: loads are small, whatever the lines are called");
  const tables = [
    contestTable(lines),
    ...(growth.length > 0 ? [growthTable(growth)] : []),
    ...(against === undefined ? [] : [movedTable(against, lines)]),
  ];
  io.out(json ? JSON.stringify(result) : tables.join("\n\n"));
  const failed = lines.filter(hasFailed).length;
  if (failed > 0) {
    io.err(`bench: ${failed} of ${lines.length} lines failed; they say why`);
    return 70;
  }
  const isAsItWas = against?.ratios.every(({ isSame }) => isSame);
  const isAsWanted = isAsItWas ?? lines.every(({ reach }) => reach?.isReached !== false);
  return isAsWanted ? 0 : 1;
}

/** Whatever is wrong with them should be known before half an hour has gone by. */
function earlierRuns(
  against: string | undefined,
  isQuick: boolean,
  contests: readonly Contest[],
): readonly BenchResult[] {
  if (against === undefined) return [];
  if (isQuick) throw new UsageError("--against compares whole loads, and --quick has small ones");
  const chosen = new Set(
    contests.flatMap(({ name, lines }) => lines.map(({ what }) => nameOf({ contest: name, what }))),
  );
  const runs = readable(against).filter(({ lines }) =>
    lines.some((line) => line.ratio !== undefined && chosen.has(nameOf(line))),
  );
  if (runs.length === 0)
    throw new UsageError(`--against: ${against} has no ratio of what is to be measured`);
  return runs;
}

function readable(path: string): readonly BenchResult[] {
  try {
    return resultsIn(path);
  } catch (error) {
    throw new UsageError(`--against: cannot read ${path}: ${(error as Error).message}`);
  }
}

function choose(
  contests: readonly Contest[],
  { only, quick }: { readonly only: readonly string[]; readonly quick: boolean },
): readonly Contest[] {
  const known = contests.map(({ name }) => name);
  const unknown = only.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new UsageError(`no contest ${unknown}; there are: ${known.join(", ")}`);
  return contests.filter(({ name, isLong }) =>
    only.length > 0 ? only.includes(name) : !(quick && isLong === true),
  );
}

async function bench(contests: readonly Contest[], effort: Effort): Promise<BenchResult> {
  const { measure } = await import("./lib/measure.ts");
  const { COMPILER, compilePeers } = await import("./lib/peer.ts");
  const { thisMachine } = await import("./lib/machine.ts");
  const { missingTools, versionsOf } = await import("./lib/tools.ts");
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  // What a run writes goes with the folder, also when the run is cut short.
  process.env["TMPDIR"] = folder;
  try {
    const needs = contests.flatMap(({ contestants }) =>
      Object.values(contestants).flatMap((contestant) => contestant.needs ?? []),
    );
    if (COMPILER.every((tool) => needs.includes(tool)) && missingTools(COMPILER) === undefined)
      compilePeers(folder);
    const { lines, growth } = await measure(contests, effort);
    const packages = versionsOf(needs);
    return {
      version: 1,
      date: new Date().toISOString(),
      machine: { ...thisMachine(), packages },
      lines,
      growth,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
