/**
 * parse: how fast a socket table becomes counts and records, beside awk (and jc, where it is installed).
 *
 * 100,000 rows as `ss -tan` prints them. In process: the first run and the median of nine, for a watcher runs warm and a
 * command runs cold. As a command: the whole process, start-up included, against awk and jc on the same file. Then a
 * million rows that exist only as a stream, and texts made to be slow: twice the text must not take more than twice the
 * time.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countSockets, countStream, parseSockets } from "../lib/sockets/parse.ts";

const ROWS = 100_000;
const RUNS = 9;
const HEADER =
  "State      Recv-Q Send-Q       Local Address:Port        Peer Address:Port Process\n";
const STATES = ["ESTAB", "TIME-WAIT", "FIN-WAIT-1", "CLOSE-WAIT", "SYN-SENT", "LAST-ACK", "ESTAB"];

function row(index: number): string {
  const state = STATES[index % STATES.length] ?? "ESTAB";
  const local = `127.0.0.1:${1_024 + (index % 60_000)}`.padStart(26);
  const peer = `10.${index % 7}.${index % 200}.1:8080`.padStart(26);
  return `${state.padEnd(10)} 0      0      ${local} ${peer}           \n`;
}

/** One flat string, as a file or a pipe gives it. */
function table(rows: number): string {
  const lines = Array.from({ length: rows }, (_, index) => row(index));
  return Buffer.from(HEADER + lines.join("")).toString("latin1");
}

function timesMs(runs: number, action: () => unknown): { first: number; median: number } {
  const times = Array.from({ length: runs }, () => {
    const start = performance.now();
    action();
    return performance.now() - start;
  });
  const [first = NaN] = times;
  const median = times.sort((one, other) => one - other)[Math.floor(runs / 2)] ?? NaN;
  return { first, median };
}

function show(what: string, { first, median }: { first: number; median: number }): void {
  console.log(
    `${what.padEnd(46)} ${first.toFixed(0).padStart(7)} ${median.toFixed(0).padStart(7)}`,
  );
}

function command(file: string, ...args: string[]): () => unknown {
  return () => execFileSync(file, args, { stdio: "ignore" });
}

function inProcess(): void {
  const text = table(ROWS);
  console.log(
    `${ROWS} rows of ss -tan, ${(text.length / 1e6).toFixed(1)} MB${" ".repeat(15)}first ms  median`,
  );
  show(
    "counts, in process",
    timesMs(RUNS, () => countSockets(text)),
  );
  show(
    "records, in process",
    timesMs(RUNS, () => parseSockets(text)),
  );
}

function asCommands(folder: string): void {
  const path = join(folder, "ss.txt");
  writeFileSync(path, table(ROWS));
  const states = join(import.meta.dirname, "../cmd/states.js");
  const peers: [string, () => unknown][] = [
    ["node -e 0 (start-up alone)", command(process.execPath, "-e", "0")],
    ["states FILE --json", command(process.execPath, states, path, "--json")],
    [
      "states FILE --json --records",
      command(process.execPath, states, path, "--json", "--records"),
    ],
    [
      "awk '{n[$1]++}'",
      command("awk", "NR > 1 { n[$1]++ } END { for (s in n) print s, n[s] }", path),
    ],
    ["awk | sort | uniq -c", command("sh", "-c", `awk '{print $1}' ${path} | sort | uniq -c`)],
    [
      "jc --ss (with a Netid column, which it needs)",
      command("sh", "-c", `sed '1s/^/Netid /;2,$s/^/tcp /' ${path} | jc --ss`),
    ],
  ];
  for (const [what, run] of peers) {
    try {
      show(what, timesMs(5, run));
    } catch (error) {
      const { code, status } = error as { code?: string; status?: number };
      const isMissing = code === "ENOENT" || status === 127;
      console.log(`${what.padEnd(46)} ${isMissing ? "not installed" : "failed"}`);
    }
  }
}

async function streamed(): Promise<void> {
  const before = process.memoryUsage.rss();
  let peak = before;
  async function* pieces(): AsyncGenerator<string> {
    yield HEADER;
    for (let index = 0; index < 10 * ROWS; index += 1_000) {
      peak = Math.max(peak, process.memoryUsage.rss());
      yield await Promise.resolve(
        Array.from({ length: 1_000 }, (_, at) => row(index + at)).join(""),
      );
    }
  }
  const start = performance.now();
  const { rows } = await countStream(pieces());
  const grownMb = ((peak - before) / 1e6).toFixed(0);
  console.log(
    `${rows} rows streamed (generated meanwhile): ${(performance.now() - start).toFixed(0)} ms, memory + ${grownMb} MB`,
  );
}

/** Texts that would make a careless parser quadratic: n and 2n, and the ratio of their times. */
function hostile(): void {
  const texts: [string, (n: number) => string][] = [
    ["blank lines", (n) => `${HEADER}${"\n".repeat(n)}`],
    ["one row with details without end", (n) => `${row(1)}${"\t a:1\n".repeat(n / 6)}`],
    [
      "details, all of them different",
      (n) => row(1) + Array.from({ length: n / 16 }, (_, i) => `\t k${i}:1\n`).join(""),
    ],
    [
      "owners that never close",
      (n) => `${row(1).trimEnd()} users:${'(("a",'.repeat(n / 12)}\n`.slice(0, 1_000_000),
    ],
    ["colons without end", (n) => `ESTAB 0 0 ${":".repeat(Math.min(n, 1_000_000))} a:1\n`],
    [
      "netstat rows of blanks",
      (n) =>
        `Proto Recv-Q Send-Q Local\n${`tcp 0 0 1.1.1.1:1 2.2.2.2:2 LISTEN ${" ".repeat(500)} (\n`.repeat(n / 540)}`,
    ],
    ["tabs for spaces", (n) => "ESTAB\t0\t0\ta:1\tb:2\n".repeat(n / 20)],
    ["/proc headers", (n) => "  sl  local_address rem_address\n".repeat(n / 32)],
  ];
  console.log("\ntexts made to be slow                            ns/byte at 1 MB and 4 MB");
  for (const [what, make] of texts) {
    const perByte = [1e6, 4e6].map((n) => {
      const text = make(n);
      const { median } = timesMs(3, () => attempt(text));
      return ((median * 1e6) / text.length).toFixed(1).padStart(8);
    });
    console.log(`${what.padEnd(46)} ${perByte.join(" ")}`);
  }
}

/** A refusal is an answer too: what counts is how long it takes. */
function attempt(text: string): void {
  try {
    parseSockets(text);
    countSockets(text);
  } catch {
    // Refused.
  }
}

const folder = mkdtempSync(join(tmpdir(), "bench-parse-"));
try {
  inProcess();
  asCommands(folder);
  await streamed();
  hostile();
} finally {
  rmSync(folder, { recursive: true });
}
