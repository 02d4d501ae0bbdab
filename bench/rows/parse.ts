/** parse: how fast the text of `ss -tan` becomes counts and records: in process, and as a command beside awk and jc. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countSockets, countStream, parseSockets } from "../../lib/sockets/parse.ts";
import { command, timesMs } from "../lib/clock.ts";
import type { Contest, Contestant, Figures } from "../lib/contest.ts";
import { ssStream, ssTable, ssTableWithNetid } from "../lib/sstable.ts";

const FULL = 100_000;

const STATES = join(import.meta.dirname, "../../cmd/states.js");

/**
 * On a busy host the same count takes 25 ms for some tenths of a second and 50 ms for the next: somebody else has had the other half of the
 * core. So many are done that some have it alone.
 */
const COUNTS = 25;

/** Records leave garbage, whose collection is part of the price. */
const RECORDS = 9;

/** A command that takes a fraction of a second is at the mercy of each neighbour, too: the fastest of five is a run. */
const COMMANDS = 5;

/** Warm, as in a program that lives long; a command parses cold. */
function inProcess(rows: number): Promise<Figures> {
  const text = ssTable(rows);
  return Promise.resolve({
    counts: timesMs(COUNTS, () => countSockets(text)).fastest,
    records: timesMs(RECORDS, () => parseSockets(text)).median,
  });
}

function onFile(
  rows: number,
  text: string,
  run: (path: string) => () => unknown,
): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), "bench-parse-"));
  try {
    const path = join(folder, "ss.txt");
    writeFileSync(path, text);
    const action = run(path);
    action(); // The file comes from memory, for all alike.
    return Promise.resolve({ ms: timesMs(rows > FULL ? 1 : COMMANDS, action).fastest });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Columns that are not where their heads are would give jc other work than the file does. */
function needsItsColumns(table: (rows: number) => string): void {
  const said = execFileSync("jc", ["--ss"], { input: table(1), encoding: "utf8" });
  const [first] = JSON.parse(said) as readonly { readonly state?: string }[];
  if (first?.state !== "ESTAB") throw new Error(`jc has misread the table: ${said}`);
}

function states(...flags: readonly string[]): Contestant {
  const read = (path: string) => command(process.execPath, STATES, path, ...flags);
  return { run: (rows) => onFile(rows, ssTableWithNetid(rows), read) };
}

const COUNT = "NR > 1 { n[$1]++ } END { for (s in n) print s, n[s] }";

export const parseContest: Contest = {
  name: "parse",
  load: { full: FULL, quick: 2_000 },
  runs: 7,
  contestants: {
    "in process": { run: inProcess },
    states: states("--json"),
    "states --records": states("--json", "--records"),
    awk: {
      needs: [{ file: "awk", package: "mawk" }],
      run: (rows) => onFile(rows, ssTable(rows), (path) => command("awk", COUNT, path)),
    },
    jc: {
      needs: [{ file: "jc", package: "jc" }],
      run: (rows) => {
        needsItsColumns(ssTableWithNetid);
        return onFile(rows, ssTableWithNetid(rows), (path) =>
          command("sh", "-c", `jc --ss < ${path}`),
        );
      },
    },
  },
  lines: [
    {
      what: "100,000 rows of ss -tan to counts, in process",
      unit: "ms",
      better: "less",
      ours: ["in process", "counts"],
      peer: { name: "awk, whole command", source: ["awk", "ms"] },
      reach: { atMost: 25 },
      limit: "Every character is looked at once, by its number; no line is cut out of the text.",
    },
    {
      what: "100,000 rows to full records, in process",
      unit: "ms",
      better: "less",
      ours: ["in process", "records"],
      reach: { atMost: 80 },
      limit: "Making 100,000 records of two endpoints each: half of it is memory.",
    },
    {
      what: "states FILE --json, whole command",
      unit: "ms",
      better: "less",
      ours: ["states", "ms"],
      peer: { name: "jc --ss, every socket", source: ["jc", "ms"] },
      reach: { ratio: 10 },
      limit:
        "Start-up more than parsing: Node takes a quarter of it before our first line runs, yargs about as much again to load. jc prints every socket, which is more work than counting them; the next line does that, too.",
    },
    {
      what: "the same with --records: every socket, as jc",
      unit: "ms",
      better: "less",
      ours: ["states --records", "ms"],
      peer: { name: "jc --ss", source: ["jc", "ms"] },
      limit: "Making 100,000 records and spelling them as JSON.",
    },
  ],
  growth: [
    {
      what: "counts, in process",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "ms",
      source: ["in process", "counts"],
      kind: "total",
    },
    {
      what: "records, in process",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "ms",
      source: ["in process", "records"],
      kind: "total",
      reason:
        "All records are alive at once: of a million of them half of the time is the garbage collector's, which moves each twice.",
    },
    {
      what: "states FILE --json",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "ms",
      source: ["states", "ms"],
      kind: "total",
    },
    {
      what: "the same with --records",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "ms",
      source: ["states --records", "ms"],
      kind: "total",
    },
    {
      what: "jc --ss, for comparison",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "ms",
      source: ["jc", "ms"],
      kind: "total",
    },
  ],
};

async function streamed(rows: number): Promise<Figures> {
  const before = process.memoryUsage.rss();
  let peak = before;
  async function* watched(): AsyncGenerator<string> {
    for await (const piece of ssStream(rows)) {
      peak = Math.max(peak, process.memoryUsage.rss());
      yield piece;
    }
  }
  const startMs = performance.now();
  await countStream(watched());
  return { grownBytes: peak - before, ms: performance.now() - startMs };
}

export const streamContest: Contest = {
  name: "stream",
  load: { full: 1_000_000, quick: 20_000 },
  runs: 7,
  contestants: { streamed: { run: streamed } },
  lines: [
    {
      what: "1,000,000 rows streamed: memory grown by",
      unit: "bytes",
      better: "less",
      ours: ["streamed", "grownBytes"],
      limit:
        "The text exists in pieces only; what grows is the young generation of V8's heap, and that has an upper bound.",
    },
  ],
  growth: [
    {
      what: "memory of a stream",
      of: "rows",
      loads: [10_000, 100_000, 1_000_000],
      unit: "bytes",
      source: ["streamed", "grownBytes"],
      kind: "total",
    },
  ],
};
