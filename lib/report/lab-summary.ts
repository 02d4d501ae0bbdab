/** lab-summary: many runs of labs for people: one line each while they go on, what failed in which run, and a table at the end. */
import type { ChalkInstance } from "chalk";
import Table from "cli-table3";
import type { ArmResult, LabResult, Verdict } from "../lab/result.ts";
import { count, ms, wrapped } from "./format.ts";
import { armHeading, armOutcome, claimValue, INTERRUPTED } from "./lab-report.ts";
import { PLAIN_TABLE } from "./plain-table.ts";

/** One run that is over, while others go on. */
export function progressLine(result: LabResult, done: number, all: number): string {
  const broken = brokenArms(result.arms).map(({ about }) => `: ${about}`);
  const verdict = wasInterrupted(result) ? INTERRUPTED : result.verdict;
  return `${done} of ${all}  ${result.lab} ${verdict} in ${ms(result.durationMs)}${broken.join("")}`;
}

/** Those that have failed, and not for a Ctrl-C. */
function brokenArms(arms: readonly ArmResult[]): readonly ArmResult[] {
  return arms.filter(({ verdict, reason }) => verdict === "failed" && reason !== INTERRUPTED);
}

/** Has a run failed for nothing but a Ctrl-C? */
function wasInterrupted({ verdict, arms }: LabResult): boolean {
  return verdict === "failed" && brokenArms(arms).length === 0;
}

/** What a run that nobody followed has failed in: its failed arms with the claims that did not hold. Empty when it has not failed. */
export function failureReport(result: LabResult, paint: ChalkInstance): string {
  const failed = result.arms.filter((arm) => arm.verdict === "failed");
  if (failed.length === 0) return "";
  return [
    `${paint.bold(result.lab)}, run ${result.run}: ${verdictText("failed", paint)}`,
    ...failed.flatMap((arm) => [
      armHeading(arm, paint),
      armOutcome({ ...arm, claims: arm.claims.filter(({ held }) => !held), timeline: [] }, paint),
    ]),
  ].join("\n");
}

/**
 * The table at the end: for each lab its arms, how many claims held, verdict and seconds; how often, when it ran several times.
 * Below each stands one prediction and what was measured: what failed, or what the lab is about.
 */
export function summaryTable(results: readonly LabResult[], paint: ChalkInstance): string {
  const labs = [...new Set(results.map(({ lab }) => lab))].map((lab) =>
    results.filter((result) => result.lab === lab),
  );
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["lab", "arms", "claims held", "verdict", "seconds"].map((head) => paint.dim(head)),
    colAligns: ["left", "right", "right", "left", "right"],
  });
  for (const runs of labs) table.push(summaryRow(runs, paint));
  const [head = "", ...rows] = table.toString().split("\n");
  const telling = labs.map((runs) => paint.dim(wrapped(tellingText(runs), "  ")));
  return [head, ...rows.flatMap((row, index) => [row, telling[index] ?? ""])].join("\n");
}

function summaryRow(runs: readonly LabResult[], paint: ChalkInstance): string[] {
  const arms = runs.flatMap((run) => run.arms);
  const claims = arms.flatMap((arm) => arm.claims);
  const held = claims.filter((claim) => claim.held).length;
  const timeMs = runs.reduce((sum, { durationMs }) => sum + durationMs, 0);
  return [
    runs[0]?.lab ?? "",
    count(arms.length),
    `${count(held)} of ${count(claims.length)}`,
    verdictOf(runs, paint),
    (timeMs / 1_000).toFixed(1),
  ];
}

/** The first claim that failed, or why an arm did not run to its end, or the first claim: labs begin with what they are about. */
function tellingText(runs: readonly LabResult[]): string {
  const arms = runs.flatMap((run) => run.arms);
  const claims = arms.flatMap((arm) => arm.claims);
  const failed = claims.find(({ held }) => !held);
  const reason = brokenArms(arms).find((arm) => arm.reason !== undefined)?.reason;
  const claim = failed ?? (reason === undefined ? claims[0] : undefined);
  if (claim === undefined) return reason ?? arms[0]?.reason ?? "no arm ran";
  const { text, predicted, measured } = claim;
  return `${text}: predicted ${claimValue(predicted)}, measured ${claimValue(measured)}`;
}

function verdictOf(runs: readonly LabResult[], paint: ChalkInstance): string {
  const worst = (["failed", "skipped", "held"] as const).find((verdict) =>
    runs.some((run) => run.verdict === verdict),
  );
  const times = runs.filter((run) => run.verdict === "held").length;
  const areInterrupted = runs.every((run) => run.verdict !== "failed" || wasInterrupted(run));
  const word =
    worst === "failed" && areInterrupted
      ? paint.yellow(INTERRUPTED)
      : verdictText(worst ?? "skipped", paint);
  if (runs.length === 1) return word;
  return worst === "held"
    ? `${word} ${times} of ${runs.length}`
    : `${word}, held ${times} of ${runs.length}`;
}

function verdictText(verdict: Verdict, paint: ChalkInstance): string {
  const color = { held: paint.green, failed: paint.red, skipped: paint.yellow }[verdict];
  return color(verdict);
}

/** The proof that nothing was left behind, or what was. */
export function residueLine(
  results: readonly LabResult[],
  parameters: number,
  changed: readonly string[],
): string {
  const arms = results.flatMap((result) => result.arms);
  const left = [...arms.flatMap((arm) => arm.leftBehind), ...changed];
  if (left.length > 0) return wrapped(left.join("; "), "Left behind: ");
  if (results.some(({ environment }) => environment.sandbox === "here"))
    return wrapped(
      `with --here the network is everybody's: TIME_WAIT stays for a minute; ${parameters} network parameters as before.`,
      "Left behind: ",
    );
  return wrapped(
    `nothing: no process in the networks of ${arms.length === 1 ? "one arm" : `${count(arms.length)} arms`}, so no socket, rule or namespace; ${parameters} network parameters as before.`,
    "Left behind: ",
  );
}

/** Where to go on. */
export function furtherLine(results: readonly LabResult[]): string {
  const names = [...new Set(results.map(({ lab }) => lab))];
  const [name = "NAME"] = names.length === 1 ? names : [];
  return wrapped(`docs/labs/${name}.md, or lab explain ${name}.`, "Why, and how to fix it: ");
}
