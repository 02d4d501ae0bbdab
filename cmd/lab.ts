#!/usr/bin/env node
/**
 * lab: failure modes as experiments: predict, break, measure, fix, prove the fix.
 *
 * Each arm of a lab runs in a private network that vanishes with it. No root needed, nothing is left behind.
 *
 * NEEDS   Linux with user namespaces, or root; --here does without, and shows less
 * SEE     docs/map.md, docs/labs/
 */
import { checkedValues, choice, flag, integer, toggle, type Values } from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Lab } from "../lib/lab/index.ts";

/** In the order in which the demo tells them. */
const DEMO = ["time-wait-exhaustion", "fd-leak", "ulimit", "multiplex"];

const runFlags = {
  all: toggle({ about: "Run every lab" }),
  arm: flag(choice("all", "broken", "control", "fixed", "myth"), "all", {
    about: "Only arms of this kind: broken, control, fixed, myth",
    metavar: "KIND",
  }),
  param: flag(
    parameters,
    {},
    {
      about: "Change parameters: name=value,name=value",
      metavar: "LIST",
      defaultText: "those of the lab",
    },
  ),
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

/** Checks `ports=500,limit=64`. */
function parameters(text: string): Readonly<Record<string, number>> {
  const pairs = text.split(",").map((pair) => /^([a-z-]+)=(\d+)$/.exec(pair));
  if (pairs.includes(null))
    throw new Error(`expected name=number,name=number, got ${JSON.stringify(text)}`);
  return Object.fromEntries(pairs.map((pair) => [pair?.[1], Number(pair?.[2])])) as Record<
    string,
    number
  >;
}

const list = command({
  name: "lab list",
  summary: "the labs, one line each",
  flags: { json: toggle({ about: "Print them as JSON" }) },
  examples: [["lab list", "names and what they show"]],
  run: async ({ json }, io) => {
    const { labList } = await import("../lib/report/lab-report.ts");
    const labs = await load([]);
    io.out(
      json ? JSON.stringify(labs.map(({ name, summary }) => ({ name, summary }))) : labList(labs),
    );
    return 0;
  },
});

const explain = command({
  name: "lab explain",
  summary: "what a lab shows, why it happens, how to recognise and to fix it",
  words: "NAME",
  flags: {},
  examples: [["lab explain fd-leak", "reads, runs nothing"]],
  run: async (_values, io, names) => {
    if (names.length === 0)
      throw new UsageError("lab explain needs the name of a lab; lab list shows them");
    const { labExplanation, theme } = await import("../lib/report/lab-report.ts");
    for (const lab of await load(names)) io.out(labExplanation(lab, theme(io.color.out)));
    return 0;
  },
});

const run = command({
  name: "lab run",
  summary: "run labs; each arm in a private network of its own",
  words: "NAME..",
  flags: runFlags,
  examples: [
    ["lab run time-wait-exhaustion", "one lab, all arms"],
    ["lab run --all --json", "everything, as data"],
    ["lab run fd-leak --param limit=64", "with another parameter"],
  ],
  run: (values, io, names) => {
    if (names.length === 0 && !values.all)
      throw new UsageError("lab run needs names of labs, or --all; lab list shows them");
    return runThem(values, io, names);
  },
});

const demo = command({
  name: "lab demo",
  summary: "the main labs with the story around them",
  flags: {},
  examples: [["lab demo", "about 15 seconds"]],
  run: (_values, io) =>
    runThem({ ...checkedValues(runFlags, {}, {}), story: true, short: true }, io, DEMO),
});

const shell = command({
  name: "lab shell",
  summary: "a shell in a private network with few ports; from a second terminal, joins it",
  words: "[-- COMMAND..]",
  flags: {},
  examples: [
    ["lab shell", "server here, lab shell and bomb there"],
    ["lab shell -- ss -s", "one command in there"],
  ],
  run: async (_values, io, words) => {
    const { enterShell } = await import("../lib/lab/shell.ts");
    return enterShell(words, io);
  },
});

async function load(names: readonly string[]): Promise<readonly Lab[]> {
  const { loadLabs } = await import("../lib/lab/load.ts");
  return loadLabs(names.length > 0 ? names : undefined);
}

async function runThem(
  values: Values<typeof runFlags>,
  io: Io,
  names: readonly string[],
): Promise<number> {
  const [{ findRung, RUNGS }, { changedParameters, networkParameters }, { runLabs }, report] =
    await Promise.all([
      import("../lib/kernel/sandbox.ts"),
      import("../lib/kernel/residue.ts"),
      import("../lib/programs/labs.ts"),
      import("../lib/report/index.ts"),
    ]);
  const labs = await load(values.all ? [] : names);
  checkParameters(values.param, labs);
  const rung = values.here ? "here" : await findRung();
  const format = values.json ? "json" : values.format;
  const isTold = format === "text" && values.jobs === 1 && values.repeat === 1;
  if (format === "text") io.err(`lab: ${labs.length} lab(s) in ${RUNGS[rung]}. Ctrl-C to stop.`);
  const before = networkParameters();
  const results = await runLabs(labs, {
    rung,
    params: values.param,
    select: await selector(values),
    signal: io.signal,
    repeat: values.repeat,
    jobs: values.jobs,
    ...(isTold ? { follow: (lab: Lab) => report.narrator(lab, io, values.story) } : {}),
    onResult: (result, done, all) => {
      if (!isTold) io.err(report.progressLine(result, done, all));
    },
  });
  if (format === "text") {
    const after = networkParameters();
    io.out(report.summaryTable(results, report.theme(io.color.out)));
    io.out(report.residueLine(results, after.size, changedParameters(before, after)));
    if (values.short)
      io.out("Further fixes of each: make lab NAME=..., or make labs for everything.");
  } else io.out(report.formatted(results, format));
  return results.some((result) => result.verdict === "failed") ? 1 : 0;
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

function checkParameters(given: Readonly<Record<string, number>>, labs: readonly Lab[]): void {
  const known = new Set(labs.flatMap((lab) => Object.keys(lab.params)));
  const unknown = Object.keys(given).find((name) => !known.has(name));
  if (unknown !== undefined)
    throw new UsageError(
      `no parameter ${JSON.stringify(unknown)} here; there are: ${[...known].join(", ")}`,
    );
}

await main({
  name: "lab",
  summary: "failure modes as experiments: predict, break, measure, fix, prove the fix",
  commands: [list, run, demo, explain, shell],
});
