/** benchmarks-page: the tables of docs/benchmarks.md, from what a run of `make bench-record` has left in docs/benchmarks.json. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { oursText, peerText, pointsText, ratioText, reachText } from "../bench/lib/table.ts";
import type { Measured } from "../bench/lib/measure.ts";
import type { BenchResult } from "../bench/lib/result.ts";

const RECORD = join(import.meta.dirname, "../../docs/benchmarks.json");

/** The page with its tables made anew; what people have written around them stays. */
export function withBenchmarks(page: string): string {
  const result = JSON.parse(readFileSync(RECORD, "utf8")) as BenchResult;
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

function machineText({ date, machine }: BenchResult): string {
  const { kernel, node, cpus, model, memoryBytes, packages = {} } = machine;
  const memory = `${Math.round(memoryBytes / 1024 ** 3)} GiB of memory`;
  const others = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  return (
    `Recorded on ${date.slice(0, 10)}: Linux ${kernel}, Node ${node}, ${cpus} processors (${model}), ${memory}.` +
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
