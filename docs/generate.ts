/**
 * generate: writes the part of the documentation that has its home in code: help screens, lab pages, tables.
 *
 * With --check it writes nothing and fails when something is stale. With --record it first runs every lab, or those
 * named, and keeps what it printed, for the pages.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { dirname, join, parse } from "node:path";
import { format } from "prettier";
import type { Lab } from "../lib/lab/define.ts";
import { grouped, loadLabs } from "../lib/lab/load.ts";
import { withBenchmarks } from "./benchmarks-page.ts";
import { claimsPage, recordClaims } from "./claims-page.ts";
import { withExamples } from "./examples.ts";
import { HINT } from "./hint.ts";
import { labPage } from "./lab-page.ts";
import { withProtocolTables } from "./protocol-tables.ts";
import { symptomsPage } from "./symptoms-page.ts";

const ROOT = join(import.meta.dirname, "../..");
const PROGRAMS = [
  ["server", []],
  ["client", []],
  ["bomb", []],
  ["multiplex", []],
  ["states", []],
  ["trace", []],
  ["trace", ["latency"]],
  ["trace", ["fds"]],
  ["lab", []],
  ["lab", ["run"]],
  ["lab", ["list"]],
  ["lab", ["explain"]],
  ["lab", ["demo"]],
  ["lab", ["shell"]],
] as const;

function program(name: string, args: readonly string[]): string {
  const path = join(ROOT, "dist/cmd", `${name}.js`);
  return execFileSync(process.execPath, [path, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).trimEnd();
}

function commandsPage(): string {
  const sections = PROGRAMS.map(([name, verb]) => {
    const title = [name, ...verb].join(" ");
    return `## ${title}\n\n\`\`\`text\n${program(name, [...verb, "--help"])}\n\`\`\``;
  });
  return (
    ["# Commands", HINT, "Every executable, as its `--help` prints it.", ...sections].join("\n\n") +
    "\n"
  );
}

const recordOf = (lab: Lab): string => join(ROOT, "docs/labs/runs", `${lab.name}.txt`);

const runOf = (lab: Lab): string => readFileSync(recordOf(lab), "utf8");

function record(labs: readonly Lab[]): void {
  for (const lab of labs) {
    const [kernel = ""] = /^\d+\.\d+/.exec(release()) ?? [];
    const where = `Linux ${kernel}, Node ${process.version}`;
    write(
      recordOf(lab),
      `$ lab run ${lab.name}     # ${where}\n${program("lab", ["run", lab.name])}\n`,
    );
  }
}

/** What a lab took when it was recorded, for its own table of results has it. */
function seconds(lab: Lab): string {
  const row = runOf(lab)
    .split("\n")
    .find((line) => /^\S+ +\d+ +\d+ of \d+ /.test(line));
  return row?.split(" ").at(-1) ?? "";
}

function withLabTable(readme: string, labs: readonly Lab[]): string {
  const rows = grouped(labs).flatMap(([tag, about, members]) => [
    `| **${tag}** | ${about} | |`,
    ...members.map(
      (lab) => `| [${lab.name}](docs/labs/${lab.name}.md) | ${lab.summary} | ${seconds(lab)} |`,
    ),
  ]);
  const table = ["| lab | what breaks | seconds |", "| --- | --- | --: |", ...rows].join("\n");
  return readme.replace(
    /(<!-- labs -->\n)[^]*?(\n<!-- \/labs -->)/,
    (_, open: string, close: string) => `${open}\n${table}\n${close}`,
  );
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const labs = await loadLabs();
const [, , task, ...named] = process.argv;
if (task === "--record")
  record(labs.filter(({ name }) => named.length === 0 || named.includes(name)));
if (task === "--record-claims") await recordClaims(named);
const unrecorded = labs.filter((lab) => !existsSync(recordOf(lab)));
for (const { name } of unrecorded)
  process.stderr.write(`lab ${name} has no recorded run: make docs-record NAME=${name}\n`);
if (unrecorded.length > 0) process.exit(1);
const readme = join(ROOT, "README.md");
/** Pages of which only what stands between markers has its home in code. */
const WITH_MARKERS = [
  "docs/reference/protocol.md",
  "docs/reference/errors.md",
  "docs/protocol-client.md",
];
const benchmarks = join(ROOT, "docs/benchmarks.md");
const pages: readonly (readonly [path: string, text: string])[] = [
  [join(ROOT, "docs/reference/commands.md"), commandsPage()],
  [join(ROOT, "docs/symptoms.md"), symptomsPage(labs)],
  [join(ROOT, "docs/concepts/claims-checked.md"), claimsPage(HINT)],
  ...labs.map(
    (lab) => [join(ROOT, "docs/labs", `${lab.name}.md`), labPage(lab, labs, runOf(lab))] as const,
  ),
  [benchmarks, withBenchmarks(readFileSync(benchmarks, "utf8"))],
  [readme, withLabTable(readFileSync(readme, "utf8"), labs)],
  ...WITH_MARKERS.map((name) => {
    const path = join(ROOT, name);
    const page = withProtocolTables(readFileSync(path, "utf8"));
    return [path, withExamples(page, join(ROOT, "docs/examples"))] as const;
  }),
];
/** As `make lint` wants it. */
const formatted = await Promise.all(
  pages.map(
    async ([path, text]) =>
      [path, await format(text, { parser: "markdown", printWidth: 100 })] as const,
  ),
);
const stale = formatted.filter(
  ([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text,
);
/** Pages and recordings of labs that are gone, or have another name now. */
const orphans = ["docs/labs", "docs/labs/runs"].flatMap((folder) =>
  readdirSync(join(ROOT, folder))
    .filter(
      (file) => /\.(md|txt)$/.test(file) && !labs.some(({ name }) => name === parse(file).name),
    )
    .map((file) => join(ROOT, folder, file)),
);
if (task === "--check") {
  for (const path of [...stale.map(([path]) => path), ...orphans])
    process.stderr.write(`stale: ${path.slice(ROOT.length + 1)}: make docs\n`);
  process.exitCode = stale.length + orphans.length > 0 ? 1 : 0;
} else {
  for (const [path, text] of stale) write(path, text);
  for (const path of orphans) rmSync(path);
}
