/** lab-report: labs for people: what is predicted, what was measured, the verdict; the story around it. */
import { Chalk, type ChalkInstance } from "chalk";
import Table from "cli-table3";
import type { Claim } from "../lab/claim.ts";
import type { ArmKind, Lab } from "../lab/define.ts";
import type { Rules, Sample, Setting } from "../lab/events.ts";
import type { Showing } from "../lab/load.ts";
import type { ArmResult, Interrupted } from "../lab/result.ts";
import type { TcpState } from "../sockets/record.ts";
import { count, safe, wrapped } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";
import { timelineChart } from "./timeline.ts";

/** Colours, or none. */
export function theme(color: boolean): ChalkInstance {
  return new Chalk({ level: color ? 1 : 0 });
}

/** The labs in their groups, each under its first tag; a second one stands behind its summary. */
export function labList(
  groups: readonly (readonly [tag: string, about: string, labs: readonly Lab[]])[],
  paint: ChalkInstance,
): string {
  const width = Math.max(...groups.flatMap(([, , labs]) => labs.map(({ name }) => name.length)));
  const sections = groups.map(([tag, about, labs]) =>
    [
      `${paint.bold(tag)}: ${about}`,
      ...labs.map(({ name, summary, tags: [, ...more] }) =>
        wrapped(
          [summary, ...more.map((other) => `[${other}]`)].join(" "),
          `  ${name.padEnd(width)}  `,
        ),
      ),
    ].join("\n"),
  );
  return sections.join("\n\n");
}

/** The labs, and the pages, for what somebody has seen. */
export function showingList(seen: string, { labs, pages }: Showing, paint: ChalkInstance): string {
  const width = Math.max(...labs.map(({ name }) => name.length));
  const [first] = labs;
  return [
    wrapped(`"${safe(seen)}" is a symptom in:`),
    ...labs.map(({ name, summary }) =>
      wrapped(summary, `  ${name.padEnd(width)}  `).replace(name, paint.bold(name)),
    ),
    ...pages.map((page) => `  ${page}`),
    ...(first === undefined ? [] : [`Next: lab explain ${first.name}`]),
  ].join("\n");
}

/** Everything there is to read about a lab, without running it. */
export function labExplanation(lab: Lab, paint: ChalkInstance): string {
  const { story } = lab;
  const section = (title: string, lines: readonly string[]): string =>
    [paint.bold(title), ...lines].join("\n");
  const params = Object.entries(lab.params);
  return [
    wrapped(lab.summary, `${lab.name}: `).replace(lab.name, paint.bold(lab.name)),
    section("What you will see", [wrapped(story.see, "  ")]),
    section("Why", [wrapped(story.why, "  ")]),
    section(
      "How to recognise it",
      story.recognise.flatMap(([line, shows]) => [`  $ ${line}`, wrapped(shows, "      ")]),
    ),
    section(
      "How to fix it",
      story.fix.map((fix) => wrapped(fix, "  - ")),
    ),
    section(
      "Arms",
      lab.arms.map((arm) => wrapped(arm.about, `  ${arm.kind.padEnd(KIND_WIDTH)}`)),
    ),
    ...(story.needs === undefined
      ? []
      : [
          section(
            "What it needs",
            story.needs.map((need) => wrapped(need, "  - ")),
          ),
        ]),
    ...(params.length === 0
      ? []
      : [
          section(
            "Parameters, as flags of lab run",
            params.map(([name, [value, about]]) =>
              wrapped(about, `  ${`--${name} ${value}`.padEnd(18)}`),
            ),
          ),
        ]),
    section("Tags", [`  ${lab.tags.join(", ")}`]),
    section("Seen in production", [wrapped(story.reports.join(", "), "  ")]),
  ].join("\n\n");
}

/** The opening of a lab in the demo: what will break, and why. */
export function labOpening(lab: Lab, paint: ChalkInstance): string {
  return [
    "",
    paint.bold.inverse(` ${lab.name} `),
    wrapped(lab.summary, "  "),
    wrapped(lab.story.see, "  "),
    paint.dim(wrapped(lab.story.why, "  ")),
  ].join("\n");
}

/** What an arm says while it runs. */
export function sayLine(text: string): string {
  return wrapped(text, "  ");
}

/** A parameter of its network that an arm has set. */
export function settingLine({ host, name, before, value }: Setting, paint: ChalkInstance): string {
  const was = before === value ? "as before" : `was ${before || "empty"}`;
  return paint.dim(wrapped(`${whose(host)}${name} = ${value} (${was})`, "  ", HANGING));
}

/** Rules of its packet filter that an arm has set, one line each. */
export function rulesLines({ host, hook, lines }: Rules, paint: ChalkInstance): string {
  const said = lines.length === 0 ? ["taken away again"] : lines;
  return paint.dim(
    said.map((line) => wrapped(`${whose(host)}nft ${hook}: ${line}`, "  ", HANGING)).join("\n"),
  );
}

/** What does not fit into a line is not taken for another one. */
const HANGING = " ".repeat(6);

function whose(host: string | undefined): string {
  return host === undefined ? "" : `${host}: `;
}

const KIND_WIDTH = "control ".length;

/** The heading of an arm. */
export function armHeading(
  arm: { readonly kind: ArmKind; readonly about: string },
  paint: ChalkInstance,
): string {
  const kind = arm.kind.padEnd(KIND_WIDTH);
  return wrapped(arm.about, kind).replace(kind, paint.bold(kind));
}

/** A prediction, told before the run, and how it was computed. */
export function predictionLine(
  { text, predicted, because }: Pick<Claim, "text" | "predicted" | "because">,
  paint: ChalkInstance,
): string {
  const why = because === undefined ? "" : ` (${because})`;
  return paint.dim(wrapped(`${text}${why}`, `  predicted ${claimValue(predicted)}: `, HANGING));
}

/**
 * How an arm has ended: its claims as a table, with the reasons for the predictions unless they were told before the run, the
 * timeline, what could not be shown, the verdict.
 */
export function armOutcome(arm: ArmResult, paint: ChalkInstance, wereTold = false): string {
  return [
    ...(arm.claims.length > 0 ? [claimTable(arm.claims, paint, !wereTold)] : []),
    ...[timelineChart(arm.timeline)]
      .filter((chart) => chart !== "")
      .map((chart) => paint.dim(chart)),
    ...arm.notes.map((note) => wrapped(note, "  note: ")),
    ...(arm.reason === undefined ? [] : [paint.yellow(wrapped(arm.reason, verdictMargin(arm)))]),
    ...arm.leftBehind.map((left) => paint.red(`  left behind: ${left}`)),
    "",
  ].join("\n");
}

/** The reason of an arm that a Ctrl-C has ended. */
export const INTERRUPTED: Interrupted = "interrupted";

function verdictMargin({ reason, verdict }: ArmResult): string {
  return reason === INTERRUPTED ? "  " : `  ${verdict}: `;
}

function claimTable(claims: readonly Claim[], paint: ChalkInstance, withReasons: boolean): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["", "predicted", "measured", ""].map((head) => paint.dim(head)),
    colAligns: ["left", "right", "right", "left"],
    colWidths: [40, 14, 14, 4],
    wordWrap: true,
  });
  for (const claim of claims) {
    table.push([
      claim.text,
      claimValue(claim.predicted),
      claimValue(claim.measured),
      mark(claim, paint),
    ]);
    if (withReasons && claim.because !== undefined)
      table.push([
        {
          content: paint.dim(claim.because),
          colSpan: 4,
          wordWrap: true,
          style: { "padding-left": 2 },
        },
      ]);
  }
  return [
    indent(table.toString()),
    ...explanations(claims).map((line) => wrapped(line, "  * ")),
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

/** Predicted or measured, for people. */
export function claimValue(of: number | string): string {
  return typeof of === "number" ? count(of) : of;
}

/** The connections of an arm while it runs, in all 11 states: a small table for a terminal. */
export function sampleTable({ tMs, clients, server }: Sample): string {
  const head = row(`after ${(tMs / 1_000).toFixed(1)} s`, "clients", "server");
  const states = Object.keys(clients) as TcpState[];
  return [
    head,
    ...states.map((state) => row(state, count(clients[state]), count(server[state]))),
  ].join("\n");
}

function row(name: string, clients: string, server: string): string {
  return `    ${name.padEnd(14)}${clients.padStart(10)}${server.padStart(10)}`;
}

/** The same as one line, for a pipe: only the states that there are. */
export function sampleLine({ tMs, clients, server }: Sample): string {
  const part = (counts: Sample["clients"]): string =>
    Object.entries(counts)
      .filter(([, many]) => many > 0)
      .map(([state, many]) => `${state} ${count(many)}`)
      .join(" ") || "none";
  return `  after ${(tMs / 1_000).toFixed(1)} s: clients ${part(clients)}; server ${part(server)}`;
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`.trimEnd())
    .join("\n");
}
