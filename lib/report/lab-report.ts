/** lab-report: labs for people: what is predicted, what was measured, the verdict; the story around it. */
import { Chalk, type ChalkInstance } from "chalk";
import Table from "cli-table3";
import type { Claim } from "../lab/claim.ts";
import type { ArmKind, Lab } from "../lab/define.ts";
import type { Sample } from "../lab/events.ts";
import type { ArmResult, LabResult, Verdict } from "../lab/result.ts";
import type { TcpState } from "../sockets/record.ts";
import { count, ms } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";

/** Colours, or none. */
export function theme(color: boolean): ChalkInstance {
  return new Chalk({ level: color ? 1 : 0 });
}

const WIDTH = 80;

/** One line for each lab. */
export function labList(labs: readonly Lab[]): string {
  const width = Math.max(...labs.map((lab) => lab.name.length));
  return labs.map((lab) => `${lab.name.padEnd(width)}  ${lab.summary}`).join("\n");
}

/** Everything there is to read about a lab, without running it. */
export function labExplanation(lab: Lab, paint: ChalkInstance): string {
  const { story } = lab;
  const section = (title: string, lines: readonly string[]): string =>
    [paint.bold(title), ...lines.flatMap((line) => wrapped(line, "  "))].join("\n");
  return [
    `${paint.bold(lab.name)}: ${lab.summary}`,
    section("What you will see", [story.see]),
    section("Why", [story.why]),
    section(
      "How to recognise it",
      story.recognise.flatMap(([command, shows]) => [`$ ${command}`, `    ${shows}`]),
    ),
    section(
      "How to fix it",
      story.fix.map((fix) => `- ${fix}`),
    ),
    section(
      "Arms",
      lab.arms.map((arm) => `${arm.kind.padEnd(8)} ${arm.about}`),
    ),
    section(
      "Parameters",
      Object.entries(lab.params).map(([name, [value, about]]) => `${name}=${value}  ${about}`),
    ),
    section("Seen in production", [story.reports.join(", ")]),
  ].join("\n\n");
}

/** The opening of a lab in the demo: what will break, and why. */
export function labOpening(lab: Lab, paint: ChalkInstance): string {
  return [
    "",
    paint.bold.inverse(` ${lab.name} `) + ` ${lab.summary}`,
    ...wrapped(lab.story.see, "  "),
    ...wrapped(lab.story.why, "  ").map((line) => paint.dim(line)),
  ].join("\n");
}

const KIND_WORDS: Readonly<Record<ArmKind, string>> = {
  broken: "broken ",
  control: "control",
  fixed: "fixed  ",
  myth: "myth   ",
};

/** What an arm says while it runs. */
export function sayLine(text: string): string {
  return wrapped(text, "  ").join("\n");
}

/** The heading of an arm. */
export function armHeading(
  arm: { readonly kind: ArmKind; readonly about: string },
  paint: ChalkInstance,
): string {
  const [first = "", ...rest] = wrapped(arm.about, " ".repeat(KIND_WORDS.broken.length + 1));
  return [`${paint.bold(KIND_WORDS[arm.kind])} ${first.trimStart()}`, ...rest].join("\n");
}

/** A prediction, told before the run. */
export function predictionLine(
  text: string,
  predicted: number | string,
  paint: ChalkInstance,
): string {
  return paint.dim(`  predicted ${value(predicted)}: ${text}`);
}

/** How an arm has ended: its claims as a table, what could not be shown, the verdict. */
export function armOutcome(arm: ArmResult, paint: ChalkInstance): string {
  return [
    ...(arm.claims.length > 0 ? [claimTable(arm.claims, paint)] : []),
    ...arm.notes.flatMap((note) => wrapped(`note: ${note}`, "  ")),
    ...(arm.reason === undefined
      ? []
      : wrapped(`${arm.verdict}: ${arm.reason}`, "  ").map((line) => paint.yellow(line))),
    ...arm.leftBehind.map((left) => paint.red(`  left behind: ${left}`)),
    "",
  ].join("\n");
}

function claimTable(claims: readonly Claim[], paint: ChalkInstance): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["", "predicted", "measured", ""].map((head) => paint.dim(head)),
    colAligns: ["left", "right", "right", "left"],
    colWidths: [44, 15, 15, 4],
    wordWrap: true,
  });
  for (const claim of claims)
    table.push([claim.text, value(claim.predicted), value(claim.measured), mark(claim, paint)]);
  return [
    indent(table.toString()),
    ...explanations(claims).flatMap((line) => wrapped(`* ${line}`, "  ")),
  ].join("\n");
}

/** The counters that account for differences, each said once. */
function explanations(claims: readonly Claim[]): readonly string[] {
  const lines = claims.flatMap(({ explained }) =>
    explained === undefined
      ? []
      : [`${explained.counter} ${explained.value}: ${explained.because}`],
  );
  return [...new Set(lines)];
}

function mark(claim: Claim, paint: ChalkInstance): string {
  if (!claim.held) return paint.red("FAIL");
  return paint.green(claim.explained === undefined ? "ok" : "ok *");
}

function value(of: number | string): string {
  return typeof of === "number" ? count(of) : of;
}

const STATES_SHOWN: readonly TcpState[] = [
  "ESTABLISHED",
  "SYN_SENT",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE_WAIT",
  "LISTEN",
];

/** The connections of an arm while it runs: a small table for a terminal. */
export function sampleTable({ tMs, clients, server }: Sample): string {
  const row = (name: string, counts: Sample["clients"]): string =>
    `  ${name.padEnd(9)}${STATES_SHOWN.map((state) => count(counts[state]).padStart(12)).join("")}`;
  return [
    `  ${`${(tMs / 1_000).toFixed(1)} s`.padEnd(9)}${STATES_SHOWN.map((state) => state.padStart(12)).join("")}`,
    row("clients", clients),
    row("server", server),
  ].join("\n");
}

/** The same as one line, for a pipe. */
export function sampleLine({ tMs, clients, server }: Sample): string {
  const part = (name: string, counts: Sample["clients"]): string =>
    [
      name,
      ...STATES_SHOWN.filter((state) => counts[state] > 0).map(
        (state) => `${state} ${counts[state]}`,
      ),
    ].join(" ");
  return `  ${(tMs / 1_000).toFixed(1)} s  ${part("clients", clients)} | ${part("server", server)}`;
}

/** One line for each lab at the end: arms, claims that held, verdict, seconds. */
export function summaryTable(results: readonly LabResult[], paint: ChalkInstance): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["lab", "arms", "claims held", "verdict", "time"].map((head) => paint.dim(head)),
    colAligns: ["left", "right", "right", "left", "right"],
  });
  for (const { lab, arms, verdict, durationMs } of results) {
    const claims = arms.flatMap((arm) => arm.claims);
    const held = claims.filter((claim) => claim.held).length;
    table.push([
      lab,
      `${arms.length}`,
      `${held} of ${claims.length}`,
      verdictText(verdict, paint),
      ms(durationMs),
    ]);
  }
  return table.toString();
}

function verdictText(verdict: Verdict, paint: ChalkInstance): string {
  const color = { held: paint.green, failed: paint.red, skipped: paint.yellow }[verdict];
  return color(verdict);
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`.trimEnd())
    .join("\n");
}

/** Breaks a text into lines of at most 80 columns, each with the given margin. Commands (`$ ...`) stay whole. */
function wrapped(text: string, margin: string): string[] {
  if (/^(\$| {4})/.test(text)) return [margin + text];
  const lines: string[] = [];
  let line = margin;
  for (const word of text.split(" ")) {
    const isFull = line.length + word.length + 1 > WIDTH;
    if (isFull && line !== margin) {
      lines.push(line);
      line = margin;
    }
    line += line === margin ? word : ` ${word}`;
  }
  return [...lines, line];
}
