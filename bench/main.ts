/**
 * bench: measures everything that has a number to reach, side by side with other programs, and prints a table or JSON.
 *
 * Contestants run in turn, each run in a sandbox of its own. Peers that are not installed are named with the Debian package
 * that brings them.
 *
 * CAVEAT  figures of a machine that does something else meanwhile say little; ratios say a little more
 * SEE     docs/benchmarks.md
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { flag, integer, optional, toggle, words } from "../lib/cli/flags.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Contest } from "./lib/contest.ts";
import type { Effort, Measured, MeasuredGrowth } from "./lib/measure.ts";

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
      "Compare the ratios with those of an earlier --json; ends with 1 when one is not within 15 %",
    metavar: "FILE",
  }),
  list: toggle({ about: "List the contests" }),
  json: toggle({ about: "Print JSON" }),
};

function names(text: string): readonly string[] {
  return text.split(",").filter((name) => name !== "");
}

/** What a bench run prints with --json, and what docs/benchmarks.json holds. */
export type BenchResult = {
  readonly version: 1;
  readonly date: string;
  readonly machine: {
    readonly kernel: string;
    readonly node: string;
    readonly cpus: number;
    readonly model: string;
    readonly memoryBytes: number;
  };
  readonly lines: readonly Measured[];
  readonly growth: readonly MeasuredGrowth[];
};

await main(
  command({
    name: "bench",
    summary: "measure everything that has a number to reach, beside other programs",
    flags,
    examples: [
      ["make bench", "everything: a quarter of an hour"],
      ["make bench ARGS=--quick", "does it work?"],
      ['make bench ARGS="--only bomb,fill"', "two of them"],
      ['make bench ARGS="--growth --json"', "with growth, as data"],
      ['make bench ARGS="--against docs/benchmarks.json"', "does it hold on another day?"],
    ],
    run: async (values, io) => {
      const { CONTESTS } = await import("./rows/index.ts");
      if (values.list) {
        io.out(CONTESTS.map(({ name }) => name).join("\n"));
        return 0;
      }
      const chosen = choose(CONTESTS, values);
      const earlier = earlierRun(values.against, values.quick);
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
      const { contestTable, growthTable, movedTable } = await import("./lib/table.ts");
      if (values.quick) io.live("bench: --quick: loads are small, whatever the lines are called");
      const tables = [contestTable(result.lines)];
      if (result.growth.length > 0) tables.push("", growthTable(result.growth));
      const { compareRatios } = await import("./lib/against.ts");
      const moved = earlier === undefined ? [] : compareRatios(result.lines, earlier.lines);
      if (earlier !== undefined) tables.push("", movedTable(moved, earlier.date));
      io.out(values.json ? JSON.stringify(result) : tables.join("\n"));
      if (earlier !== undefined) return moved.some(({ isSame }) => !isSame) ? 1 : 0;
      return result.lines.some(({ reach }) => reach?.isReached === false) ? 1 : 0;
    },
  }),
);

function earlierRun(against: string | undefined, isQuick: boolean): BenchResult | undefined {
  if (against === undefined) return undefined;
  if (isQuick) throw new UsageError("--against compares whole loads, and --quick has small ones");
  return resultIn(against);
}

/** Reads what --json has printed. */
function resultIn(file: string): BenchResult {
  try {
    const result = JSON.parse(readFileSync(file, "utf8")) as BenchResult;
    if (Array.isArray(result.lines)) return result;
  } catch (error) {
    throw new UsageError(`--against: cannot read ${file}: ${(error as Error).message}`);
  }
  throw new UsageError(`--against: ${file} is not what bench --json prints`);
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
  const { missingTools } = await import("./lib/tools.ts");
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  try {
    if (missingTools(COMPILER) === undefined) compilePeers(folder);
    const lines: Measured[] = [];
    const growth: MeasuredGrowth[] = [];
    for (const contest of contests) {
      const result = await measure(contest, effort);
      lines.push(...result.lines);
      growth.push(...result.growth);
    }
    return { version: 1, date: new Date().toISOString(), machine: machine(), lines, growth };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function machine(): BenchResult["machine"] {
  return {
    kernel: release()
      .split(/[^\d.]/, 1)
      .join(""),
    node: process.version,
    cpus: cpus().length,
    model: cpus()[0]?.model ?? "unknown",
    memoryBytes: totalmem(),
  };
}
