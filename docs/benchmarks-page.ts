/** benchmarks-page: the tables of docs/benchmarks.md, from what runs of `make bench-record` have left in docs/benchmarks. */
import { join } from "node:path";
import { keyOf } from "../bench/lib/against.ts";
import { resultsIn, type BenchResult } from "../bench/lib/result.ts";
import {
  minuteOf,
  figure,
  oursText,
  peerText,
  pointsText,
  ratioText,
  reachText,
} from "../bench/lib/table.ts";
import type { Measured } from "../bench/lib/measure.ts";

const RECORDS = join(import.meta.dirname, "../../docs/benchmarks");

/** The page with its tables made anew; what people have written around them stays. */
export function withBenchmarks(page: string): string {
  // Of another machine only the table is recorded, and stands beside.
  const results = resultsIn(RECORDS);
  const result = results.find(({ growth }) => growth.length > 0);
  if (result === undefined) throw new Error(`no recording with growth in ${RECORDS}`);
  const others = results.filter((other) => other !== result);
  const parts: Readonly<Record<string, string>> = {
    machine: machineText(result),
    table: table(
      ["what", "ours: median (lowest to highest)", "beside", "to reach", "ratio"],
      result.lines.map((line) => [
        line.what,
        oursText(line),
        peerText(line),
        reachText(line.reach, line.unit),
        ratioText(line.ratio),
      ]),
    ),
    limits: result.lines.map(({ what, limit }) => `- **${what}.** ${limit}`).join("\n"),
    growth: table(
      ["what", "figures", "beyond linear", "why"],
      result.growth.map((growth) => [
        growth.what,
        pointsText(growth),
        `${growth.excess.toFixed(2)}x`,
        growth.reason ?? "",
      ]),
    ),
    missed: missed(result.lines),
    elsewhere: others.map((other) => elsewhere(result, other)).join("\n\n"),
  };
  return page.replace(
    /(<!-- bench (\w+) -->\n)[^]*?(<!-- \/bench -->)/g,
    (_, open: string, name: string, close: string) => {
      const text = parts[name];
      if (text === undefined) throw new Error(`docs/benchmarks.md: no table is called ${name}`);
      return `${open}\n${text}\n\n${close}`;
    },
  );
}

/** The medians of another recording beside those of this one, where this one has the line, too. */
function elsewhere(here: BenchResult, there: BenchResult): string {
  const lines = new Map(here.lines.map((line) => [keyOf(line), line]));
  const ends = [minuteOf(here), minuteOf(there)];
  const rows = there.lines.map((line) => {
    const both = [lines.get(keyOf(line)), line];
    return [
      line.what,
      ...both.map((each) => medianText(each?.ours, line.unit)),
      line.peer?.name ?? "",
      ...both.map((each) => medianText(each?.peer, line.unit)),
      ...both.map((each) => ratioText(each?.ratio)),
    ];
  });
  const head = ["what", ...ends, "beside", ...ends, ...ends.map((end) => `ratio ${end}`)];
  return `${machineText(there)}\n\n${table(head, rows)}\n\n${missed(there.lines)}`;
}

function medianText(spread: Measured["ours"], unit: Measured["unit"]): string {
  return spread === undefined ? "" : figure(spread.median, unit);
}

function machineText({ date, machine }: BenchResult): string {
  const { kernel, node, cpus, model, processor, memoryBytes, packages = {} } = machine;
  const memory = `${Math.round(memoryBytes / 1024 ** 3)} GiB of memory`;
  const others = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  return (
    `Recorded on ${minuteOf({ date })}: Linux ${kernel}, Node ${node}, ${cpus} processors (${[model, processor].filter(Boolean).join(", ")}), ${memory}.` +
    (others.length === 0 ? "" : ` Debian packages: ${others.join(", ")}.`)
  );
}

function missed(lines: readonly Measured[]): string {
  const names = lines.filter(({ reach }) => reach?.isReached === false).map(({ what }) => what);
  if (names.length === 0) return "In this recording everything was reached.";
  return `In this recording these were missed:\n\n${names.map((name) => `- ${name}`).join("\n")}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
