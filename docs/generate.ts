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
import { loadLabs } from "../lib/lab/load.ts";
import { ERRNO_WORDS, errnoNumber, EXPLAINED, NETSTAT_WORDS } from "../lib/lab/symptoms.ts";
import { withBenchmarks } from "./benchmarks-page.ts";
import { claimsPage, recordClaims } from "./claims-page.ts";
import { withExamples } from "./examples.ts";
import { withProtocolTables } from "./protocol-tables.ts";

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
const HINT = "<!-- Written by `make docs`; edit the source, not this file. -->";

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

function labPage(lab: Lab): string {
  const { story } = lab;
  const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join("\n");
  const arms = lab.arms.map(({ kind, about }) => `| ${kind} | ${about.replaceAll("|", "\\|")} |`);
  const params = Object.entries(lab.params).map(
    ([name, [value, about]]) => `| \`--${name}\` | ${value} | ${about} |`,
  );
  return (
    [
      `# ${lab.name}`,
      HINT,
      sentence(lab.summary),
      `\`\`\`sh\nmake lab NAME=${lab.name}\n\`\`\``,
      "## What you will see",
      story.see,
      "## Why",
      story.why,
      "## Arms",
      ["| kind | what is different |", "| --- | --- |", ...arms].join("\n"),
      "## A recorded run",
      `\`\`\`text\n${readFileSync(recordOf(lab), "utf8").trimEnd()}\n\`\`\``,
      "## How to recognise it on your own machine",
      story.recognise
        .map(([command, shows]) => `\`\`\`sh\n${command}\n\`\`\`\n\n${sentence(shows)}`)
        .join("\n\n"),
      "## How to fix it",
      list(story.fix),
      ...(story.needs === undefined
        ? []
        : [
            "## What it needs",
            "Where one of these is missing, the arms that use it are skipped, and say why; the others run.",
            list(story.needs),
          ]),
      ...(params.length === 0
        ? []
        : [
            "## Parameters",
            `Flags of \`lab run ${lab.name}\`:`,
            ["| flag | default | meaning |", "| --- | --- | --- |", ...params].join("\n"),
          ]),
      "## Seen in production",
      list(story.reports.map(reportLink)),
    ].join("\n\n") + "\n"
  );
}

/** From what one sees to the labs that show it, and the pages that explain it. */
function symptomsPage(labs: readonly Lab[]): string {
  const shown = labs.flatMap(({ story }) => story.symptoms ?? []);
  const known = [...new Set([...shown, ...EXPLAINED.keys()])].sort((a, b) =>
    a.localeCompare(b, "en"),
  );
  const errnos = Object.entries(ERRNO_WORDS) as [keyof typeof ERRNO_WORDS, string][];
  return [
    "# By symptom",
    HINT,
    "What you see, and which lab shows how it comes about; or, where it cannot be shown safely, the page that [explains](explained.md) it. " +
      'In a terminal: `node dist/cmd/lab.js explain "WHAT YOU SEE"`, with an errno, a counter, a state or a line of a log.',
    "## What logs and netstat say",
    "The same has several names. The last table below goes by those on the right.",
    [
      "| in a log | is |",
      "| --- | --- |",
      ...errnos.map(
        ([errno, words]) => `| "${words}", errno ${errnoNumber(errno)} | \`${errno}\` |`,
      ),
    ].join("\n"),
    [
      "| `netstat -s` | is, for `nstat -asz` |",
      "| --- | --- |",
      ...Object.entries(NETSTAT_WORDS).map(([counter, words]) => `| ${words} | \`${counter}\` |`),
    ].join("\n"),
    "## What you see",
    [
      "| what you see | lab or page |",
      "| --- | --- |",
      ...known.map((symptom) => `| ${symptom} | ${whereTo(symptom, labs)} |`),
    ].join("\n"),
  ].join("\n\n");
}

/** The labs that show a symptom, and the page that explains it. Of several labs the summaries tell which it is. */
function whereTo(symptom: string, labs: readonly Lab[]): string {
  const showing = labs.filter(({ story }) => story.symptoms?.includes(symptom));
  const page = EXPLAINED.get(symptom);
  const isClear = showing.length < 2;
  return [
    ...showing.map(
      ({ name, summary }) => `[${name}](labs/${name}.md)${isClear ? "" : `: ${summary}`}`,
    ),
    ...(page === undefined ? [] : [`[${page}](explained/${page}.md)`]),
  ].join("<br>");
}

/** Code at the start of a text keeps its spelling: `accept4() = -1`, `bytes_received`, `rto:`. */
function sentence(text: string): string {
  const isCode = /^\S*[(_.:]/.test(text);
  const first = text.charAt(0);
  return `${isCode ? first : first.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function reportLink(report: string): string {
  const [repository = "", number = ""] = report.split("#");
  return `[${report}](https://github.com/${repository}/issues/${number})`;
}

function withLabTable(readme: string, labs: readonly Lab[]): string {
  const rows = labs.map(({ name, summary }) => `| [${name}](docs/labs/${name}.md) | ${summary} |`);
  const table = ["| lab | what breaks |", "| --- | --- |", ...rows].join("\n");
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
  ...labs.map((lab) => [join(ROOT, "docs/labs", `${lab.name}.md`), labPage(lab)] as const),
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
