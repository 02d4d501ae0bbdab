/** lab-formats: results for machines: JSON, TAP version 14, JUnit XML. */
import type { ArmResult, LabResult } from "../lab/result.ts";

/** Results in one of the formats for machines. The shape of JSON is in docs/reference/lab-result.schema.json. */
export function formatted(results: readonly LabResult[], format: "json" | "tap" | "junit"): string {
  switch (format) {
    case "json":
      return JSON.stringify(results);
    case "tap":
      return tapReport(results);
    case "junit":
      return junitReport(results);
  }
}

/** TAP version 14 (testanything.org): one point for each arm; the claims of a failed one as its diagnostics. */
export function tapReport(results: readonly LabResult[]): string {
  const arms = results.flatMap((result) =>
    result.arms.map((arm) => ({ lab: runName(result), arm })),
  );
  const lines = arms.flatMap(({ lab, arm }, index) => tapPoint(lab, arm, index + 1));
  return ["TAP version 14", `1..${arms.length}`, ...lines].join("\n");
}

function tapPoint(lab: string, arm: ArmResult, number: number): readonly string[] {
  const ok = arm.verdict === "failed" ? "not ok" : "ok";
  const name = `${lab}: ${arm.kind}: ${arm.about}`.replaceAll("#", "\\#");
  const skip = arm.verdict === "skipped" ? ` # SKIP ${arm.reason ?? ""}` : "";
  const point = `${ok} ${number} - ${name}${skip}`;
  if (arm.verdict !== "failed") return [point];
  const trouble = troubles(arm).map((line) => `    - ${JSON.stringify(line)}`);
  return [point, "  ---", `  duration_ms: ${arm.durationMs}`, "  message:", ...trouble, "  ..."];
}

/** JUnit XML as CI servers read it: a suite for each run of a lab, a case for each arm. */
export function junitReport(results: readonly LabResult[]): string {
  const suites = results.map((result) => {
    const { arms, durationMs } = result;
    const lab = runName(result);
    const count = (verdict: ArmResult["verdict"]): number =>
      arms.filter((arm) => arm.verdict === verdict).length;
    const attributes =
      `name="${escaped(lab)}" tests="${arms.length}" failures="${count("failed")}" ` +
      `skipped="${count("skipped")}" time="${seconds(durationMs)}"`;
    return [
      `  <testsuite ${attributes}>`,
      ...arms.map((arm) => junitCase(lab, arm)),
      "  </testsuite>",
    ].join("\n");
  });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    "<testsuites>",
    ...suites,
    "</testsuites>",
  ].join("\n");
}

function junitCase(lab: string, arm: ArmResult): string {
  const name = escaped(`${arm.kind}: ${arm.about}`);
  const head = `    <testcase classname="${escaped(lab)}" name="${name}" time="${seconds(arm.durationMs)}"`;
  if (arm.verdict === "held") return `${head}/>`;
  const body =
    arm.verdict === "skipped"
      ? `<skipped message="${escaped(arm.reason ?? "")}"/>`
      : `<failure message="${escaped(troubles(arm).join("; "))}"/>`;
  return `${head}>${body}</testcase>`;
}

/** The lab's name, and which run it was after the first. */
function runName({ lab, run }: LabResult): string {
  return run === 1 ? lab : `${lab} (run ${run})`;
}

/** What is wrong with a failed arm, one line each. */
function troubles(arm: ArmResult): readonly string[] {
  const failed = arm.claims.filter((claim) => !claim.held);
  return [
    ...(arm.reason === undefined ? [] : [arm.reason]),
    ...failed.map(
      ({ text, predicted, measured }) => `${text}: predicted ${predicted}, measured ${measured}`,
    ),
    ...arm.leftBehind.map((process) => `left behind: ${process}`),
  ];
}

function seconds(durationMs: number): string {
  return (durationMs / 1_000).toFixed(3);
}

/** XML 1.0 allows no control characters but tab and line ends, not even escaped. */
function escaped(text: string): string {
  return text
    .replaceAll(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
