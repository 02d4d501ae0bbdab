#!/usr/bin/env node
/**
 * lab: failure modes as experiments: predict, break, measure, fix, prove the fix.
 *
 * Each arm of a lab runs in a private network that vanishes with it. No root needed, nothing is left behind.
 *
 * NEEDS   Linux with user namespaces, or root; --here does without, and shows less
 * SEE     docs/map.md, docs/labs/
 */
import {
  checkedValues,
  choice,
  flag,
  integer,
  optional,
  toggle,
  type Check,
  type Flags,
  type Values,
} from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import { ARM_KINDS } from "../lib/lab/define.ts";
import type { Lab, LabResult } from "../lib/lab/index.ts";
import type { Parameter } from "../lib/lab/parameters.ts";

/** In the order in which the demo tells them. */
const DEMO = ["time-wait-exhaustion", "fd-leak", "ulimit", "multiplex"];

const WITHOUT =
  "--here, which uses this machine's own network,\n  changes no parameter and skips what would need one.";

const runFlags = {
  all: toggle({ about: "Run every lab" }),
  arm: flag(choice("all", ...ARM_KINDS), "all", {
    about: `Only arms of this kind: ${ARM_KINDS.join(", ")}`,
    metavar: "KIND",
  }),
  here: toggle({ about: "No private network: use this machine's, change nothing, show less" }),
  story: toggle({ about: "Tell the story around it, with a live table of states" }),
  short: toggle({ about: "Only the first of several fixes" }),
  repeat: flag(integer(1, 10_000), 1, {
    about: "Run each N times; say how often it held",
    metavar: "N",
  }),
  jobs: flag(integer(1, 64), 1, { about: "Run N labs at the same time", metavar: "N" }),
  format: flag(choice("text", "json", "tap", "junit"), "text", {
    about: "Print the results as text, json, tap or junit",
    metavar: "NAME",
  }),
  json: toggle({ about: "Short for --format json" }),
};

/** The parameters of labs as flags: the sizes of their small worlds. */
async function parameterFlags(labs: readonly Lab[]): Promise<Flags> {
  const { parametersOf } = await import("../lib/lab/parameters.ts");
  const group = `Parameters of ${labs.length === 1 ? labs[0]?.name : "these labs"}`;
  return Object.fromEntries(
    parametersOf(labs).map((parameter) => [
      parameter.name,
      optional(valueOf(parameter), {
        about: parameter.about,
        metavar: "N",
        defaultText: parameter.fallback,
        group,
      }),
    ]),
  );
}

/** The check of a parameter's value. */
function valueOf({ low, high, multipleOf }: Parameter): Check<number> {
  return (text) => {
    const value = integer(low, high)(text);
    if (value % multipleOf === 0) return value;
    throw new Error(`expected a multiple of ${multipleOf} from ${low} to ${high}, got ${value}`);
  };
}

const list = command({
  name: "lab list",
  summary: "the labs, one line each",
  words: "[NAME|TAG..]",
  flags: { json: toggle({ about: "Print them as JSON" }) },
  examples: [
    ["lab list", "names and what they show, in groups"],
    ["lab list ports", "those with this tag"],
  ],
  run: async ({ json }, io, words) => {
    const { labList, theme } = await import("../lib/report/lab-report.ts");
    const { grouped } = await import("../lib/lab/load.ts");
    const labs = await load(words);
    const short = labs.map(({ name, summary, tags }) => ({ version: 1, name, summary, tags }));
    io.out(json ? JSON.stringify(short) : labList(grouped(labs), theme(io.color.out)));
    return 0;
  },
});

const explain = command({
  name: "lab explain",
  summary: "what a lab shows, why it happens, how to recognise and to fix it",
  words: "NAME|TAG|SYMPTOM..",
  flags: {},
  examples: [
    ["lab explain fd-leak", "reads, runs nothing"],
    ['lab explain "Connection reset by peer"', "which labs show what you see"],
  ],
  run: async (_values, io, names) => {
    if (names.length === 0)
      throw new UsageError("lab explain needs the name of a lab; lab list shows them");
    const { labExplanation, showingList, theme } = await import("../lib/report/lab-report.ts");
    const { isName, showing } = await import("../lib/lab/load.ts");
    const paint = theme(io.color.out);
    for (const name of names) {
      const { labs, pages } = isName(name) ? { labs: [], pages: [] } : await showing(name);
      if (labs.length + pages.length > 0) io.out(showingList(name, { labs, pages }, paint));
      else for (const lab of await load([name])) io.out(labExplanation(lab, paint));
    }
    return 0;
  },
});

const run = command({
  name: "lab run",
  summary: "run labs; each arm in a private network of its own",
  words: "NAME|TAG..",
  flags: runFlags,
  examples: [
    ["lab run time-wait-exhaustion", "one lab, all arms"],
    ["lab run ports", "all labs with this tag (see lab list)"],
    ["lab run --all --json", "everything, as data"],
    ["lab run fd-leak --limit 64", "with another parameter; lab run fd-leak --help"],
  ],
  more: async (words, { all }) =>
    words.length > 0 || all === true ? parameterFlags(await load(words)) : {},
  run: (values, io, words, params) => {
    if (words.length === 0 && !values.all)
      throw new UsageError("lab run needs names of labs, tags, or --all; lab list shows them");
    if (words.length > 0 && values.all)
      throw new UsageError("--all runs every lab: it takes no names; see --help");
    refuseIdle(values);
    return runThem(values, io, values.all ? [] : words, params as Record<string, number>);
  },
});

const demo = command({
  name: "lab demo",
  summary: "the main labs with the story around them",
  flags: {},
  examples: [["lab demo", "about 20 seconds"]],
  run: (_values, io) =>
    runThem({ ...checkedValues(runFlags, {}, {}), story: true, short: true }, io, DEMO, {}),
});

const shell = command({
  name: "lab shell",
  summary: "a shell in a private network with few ports; from a second terminal, joins it",
  words: "[-- COMMAND..]",
  flags: { alone: toggle({ about: "A new one, which nobody joins" }) },
  examples: [
    ["lab shell", "server here, lab shell and bomb there"],
    ["lab shell -- ss -s", "one command in there"],
  ],
  run: async ({ alone }, io, words) => {
    const { enterShell } = await import("../lib/lab/shell.ts");
    return enterShell(words, io, alone);
  },
});

/** The labs that these words name; all of them without any. */
async function load(words: readonly string[]): Promise<readonly Lab[]> {
  const { chooseLabs, loadLabs } = await import("../lib/lab/load.ts");
  return words.length > 0 ? chooseLabs(words) : loadLabs();
}

/** A flag that would have no effect is a mistake of its user's. */
function refuseIdle({ format, json, story, jobs, repeat }: Values<typeof runFlags>): void {
  if (json && format !== "text" && format !== "json")
    throw new UsageError(`--json and --format ${format} exclude each other`);
  if (story && (json || format !== "text" || jobs > 1 || repeat > 1))
    throw new UsageError(
      "--story is text of one run after the other: it takes no --json, --format, --jobs, --repeat",
    );
}

async function runThem(
  values: Values<typeof runFlags>,
  io: Io,
  words: readonly string[],
  params: Readonly<Record<string, number>>,
): Promise<number> {
  const [{ findRung, RUNGS }, { changedParameters, networkParameters }, { runLabs }, report] =
    await Promise.all([
      import("../lib/kernel/sandbox.ts"),
      import("../lib/kernel/residue.ts"),
      import("../lib/programs/labs.ts"),
      import("../lib/report/index.ts"),
    ]);
  const labs = await load(words);
  const rung = values.here ? "here" : await findRung(WITHOUT);
  const format = values.json ? "json" : values.format;
  const isTold = format === "text" && values.jobs === 1 && values.repeat === 1;
  if (format === "text") io.err(`lab: ${labs.length} lab(s) in ${RUNGS[rung]}. Ctrl-C to stop.`);
  const paint = report.theme(io.color.out);
  const before = networkParameters();
  const results = await runLabs(labs, {
    rung,
    params,
    select: await selector(values),
    signal: io.signal,
    repeat: values.repeat,
    jobs: values.jobs,
    ...(isTold ? { follow: (lab: Lab) => report.narrator(lab, io, values.story) } : {}),
    onResult: (result, done, all) => {
      if (isTold) return;
      io.err(report.progressLine(result, done, all));
      if (format === "text" && result.verdict === "failed" && !io.signal.aborted)
        io.out(report.failureReport(result, paint));
    },
  });
  if (format === "text") {
    const after = networkParameters();
    io.out(report.summaryTable(results, paint));
    io.out(report.residueLine(results, after.size, changedParameters(before, after)));
    io.out(
      values.short
        ? "Further fixes of each: make lab NAME=..., or make labs for everything\n(installed by npm: tcp-failure-lab run)."
        : report.furtherLine(results),
    );
  } else io.out(report.formatted(results, format));
  if (results.some((result) => result.verdict === "failed")) return 1;
  return saidIfAllSkipped(results, io) ? 2 : 0;
}

/** Has no arm shown anything? Then whoever reads only the exit code has to know. */
function saidIfAllSkipped(results: readonly LabResult[], io: Io): boolean {
  const arms = results.flatMap((result) => result.arms);
  if (arms.length === 0 || arms.some(({ verdict }) => verdict !== "skipped")) return false;
  const reasons = [...new Set(arms.map(({ reason = "" }) => reason))];
  io.err(`lab: nothing could be shown, every arm was skipped: ${reasons.join("; ")}`);
  return true;
}

/** Which arms are to run. */
async function selector(
  values: Values<typeof runFlags>,
): Promise<(arm: Lab["arms"][number], lab: Lab) => boolean> {
  const { mainArms } = await import("../lib/lab/define.ts");
  return (arm, lab) =>
    (values.arm === "all" || values.arm === arm.kind) &&
    (!values.short || mainArms(lab).includes(arm));
}

await main({
  name: "lab",
  summary: "failure modes as experiments: predict, break, measure, fix, prove the fix",
  commands: [list, run, demo, explain, shell],
});
