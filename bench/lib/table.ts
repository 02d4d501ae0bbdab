/** table: what was measured, for people. */
import Table from "cli-table3";
import { bytes, count, ms } from "../../lib/report/format.ts";
import { PLAIN_TABLE } from "../../lib/report/plain-table.ts";
import type { Reach, Unit } from "./contest.ts";
import { SAME_WITHIN } from "./against.ts";
import type { Measured, MeasuredGrowth } from "./measure.ts";
import type { Comparison } from "./result.ts";
import type { Spread } from "./statistics.ts";

/** A figure with its unit. */
export function figure(value: number, unit: Unit): string {
  switch (unit) {
    case "1/s":
      return `${count(Math.round(value))}/s`;
    case "ns":
      return `${count(Math.round(value))} ns`;
    case "ms":
      return ms(value);
    case "s":
      return `${value.toFixed(value < 10 ? 2 : 1)} s`;
    case "bytes":
      return bytes(value);
    case "%":
      return `${value.toFixed(1)} %`;
  }
}

/** The median, and in brackets from where to where the runs went. */
function spreadText({ median, min, max, without = 0 }: Spread, unit: Unit): string {
  const range = min === max ? [] : [`${figure(min, unit)} to ${figure(max, unit)}`];
  const brackets = [...range, ...(without === 0 ? [] : [`${without} without`])].join("; ");
  return `${figure(median, unit)}${brackets === "" ? "" : ` (${brackets})`}`;
}

/** What was to be reached, and whether it was. */
export function reachText(reach: Measured["reach"], unit: Unit): string {
  if (reach === undefined) return "";
  const verdict = reach.isReached === undefined ? "" : reach.isReached ? ": yes" : ": NO";
  return `${wanted(reach, unit)}${verdict}`;
}

function wanted(reach: Reach, unit: Unit): string {
  if ("ratio" in reach) return `ratio ${reach.ratio.toFixed(2)}`;
  return "atMost" in reach
    ? `at most ${figure(reach.atMost, unit)}`
    : `at least ${figure(reach.atLeast, unit)}`;
}

/** The ratio, more is better for us. */
export function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "" : ratio.toFixed(2);
}

/** Our figure, or why there is none. */
export function oursText({ ours, missing, unit }: Measured): string {
  return ours === undefined ? (missing ?? "") : spreadText(ours, unit);
}

/** The peer's figure under its name, or why there is none; nothing where there is none of ours. */
export function peerText({ ours, peer, missing, unit }: Measured): string {
  if (peer !== undefined) return `${spreadText(peer, unit)} ${peer.name}`;
  return ours === undefined ? "" : (missing ?? "");
}

/** One figure for each load, in a row. */
export function pointsText({ points, unit, of }: MeasuredGrowth): string {
  return points
    .map(({ load, value }) => `${figure(value, unit)} (${count(load)} ${of})`)
    .join(", ");
}

/** All lines, the ratio last. */
export function contestTable(lines: readonly Measured[]): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["what", "ours: median (runs)", "beside", "to reach", "ratio"],
    colWidths: [32, 25, 32, 22, 7],
    colAligns: ["left", "left", "left", "left", "right"],
    wordWrap: true,
  });
  for (const line of lines)
    table.push([
      line.what,
      oursText(line),
      peerText(line),
      reachText(line.reach, line.unit),
      ratioText(line.ratio),
    ]);
  return table.toString();
}

/** How the figures grow. */
export function growthTable(growths: readonly MeasuredGrowth[]): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["growth", "figures", "beyond linear"],
    colWidths: [32, 74, 13],
    colAligns: ["left", "left", "right"],
    wordWrap: true,
  });
  for (const growth of growths)
    table.push([growth.what, pointsText(growth), `${growth.excess.toFixed(2)}x`]);
  return table.toString();
}

function changeText(change: number): string {
  if (Number.isNaN(change)) return "none";
  return `${change < 0 ? "" : "+"}${(100 * change).toFixed(0)} %`;
}

function apartText(apart: number): string {
  return Number.isFinite(apart) ? `${(100 * apart).toFixed(0)} %` : "no figure in common";
}

/** When a run ended, to the minute: several are of one day. UTC. */
export function minuteOf({ date }: { readonly date: string }): string {
  return date.slice(0, 16).replace("T", " ");
}

/** Ratios then and now, and how the peer's own figure has changed: that is the machine. */
export function movedTable(
  { date, peersApart, others, ratios: moved, gone }: Comparison,
  lines: readonly Measured[],
): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["what", "beside", minuteOf({ date }).replace(" ", "\n"), "now", "change", "peer alone"],
    colAligns: ["left", "left", "right", "right", "right", "right"],
    colWidths: [34, 26],
    wordWrap: true,
  });
  for (const { what, peer, then, now, change, peerChange, isSame } of moved) {
    const percent = changeText(change);
    table.push([
      ...[what, peer, ratioText(then), ratioText(now)],
      ...[isSame ? percent : `${percent} !`, changeText(peerChange)],
    ]);
  }
  const apart = moved.filter(({ isSame }) => !isSame).length;
  const known = new Set(moved.map(({ what, peer }) => `${what}\n${peer}`));
  const more = lines.filter(
    ({ what, peer, ratio }) => ratio !== undefined && !known.has(`${what}\n${peer?.name}`),
  );
  const verdict = `${moved.length - apart} of ${moved.length} ratios are within ${100 * SAME_WITHIN} % of that run`;
  const machines = [
    `peers alone: ${apartText(peersApart)} from that run`,
    ...others.map((other) => `${apartText(other.peersApart)} from ${minuteOf(other)}`),
  ].join(", ");
  const rest = more.length === 0 ? "" : `; ${more.length} are not in it`;
  const less = gone
    .map((what) => `\nin that run only, as it is measured no more: ${what}`)
    .join("");
  return `${table.toString()}\n${verdict}${rest}${less}\n${machines}`;
}
