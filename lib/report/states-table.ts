/** states-table: socket counts for people. At most 80 columns; every state has its row, for a zero is news too. */
import { Chalk, type ChalkInstance } from "chalk";
import Table from "cli-table3";
import { groupBy, type Group, type Grouping } from "../sockets/groups.ts";
import type { Look } from "../sockets/look.ts";
import type { Tally } from "../sockets/reading.ts";
import type { Reconciliation } from "../sockets/reconcile.ts";
import { TCP_STATES, totalOf, type StateCounts, type TcpState } from "../sockets/record.ts";
import { safe } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";

/** What the table shows. */
export type StatesView = {
  readonly counts: StateCounts;
  /** TCP rows without a state. */
  readonly unstated: number;
  /** Where the counts come from, as one could type it. */
  readonly from: string;
  readonly blindSpots: readonly string[];
  readonly notes: readonly string[];
  /** The counts of a look before, to show what changed. */
  readonly before?: StateCounts | undefined;
};

/** May the text carry escape sequences? */
export type TableOptions = { readonly color: boolean };

/** What a state means to somebody who looks for a fault: who has done what, and who has to act. */
const MEANING: Readonly<Record<TcpState, string>> = {
  ESTABLISHED: "open, data flows",
  SYN_SENT: "connecting: no answer yet",
  SYN_RECV: "being connected to: last ACK missing",
  FIN_WAIT1: "we closed, peer has not acknowledged",
  FIN_WAIT2: "we closed, peer has not",
  TIME_WAIT: "closed by us first, 4-tuple kept for 60 s",
  CLOSE: "bound or opened, not connected",
  CLOSE_WAIT: "peer closed, our program has not",
  LAST_ACK: "closed by both, last ACK missing",
  LISTEN: "waits for connections",
  CLOSING: "both closed at once, ACK missing",
};

const WIDTH = 80;
const GAP = 2;
const COUNT_COLUMN = 7;
/** Widths of the keys of groups: an IPv6 address has 39 characters, and two that are cut may look alike. */
const MIN_KEY = 26;
const MAX_KEY = 41;

/** What of a look is to be shown. */
export type LookTextOptions = TableOptions & {
  readonly by: Grouping | undefined;
  /** Account for every line. */
  readonly explain: boolean;
  readonly before?: StateCounts | undefined;
};

/** A look as text: the states, and as wanted its groups and its account. */
export function lookText(look: Look, { by, explain, before, color }: LookTextOptions): string {
  const { tally, records = [], served } = look;
  const groups = by === undefined ? [] : [groupsTable(groupBy(records, by, served), { by, color })];
  const account = explain ? [accountTable(tally)] : [];
  const table = statesTable({ ...look, ...tally, notes: look.notes, before }, { color });
  return [table, ...groups, ...account].join("\n\n");
}

type Cell = string | { readonly content: string; readonly hAlign: "right" };

/** One row for each of the 11 states, a total, and what the source cannot see. */
export function statesTable(view: StatesView, { color }: TableOptions): string {
  const chalk = painter(color);
  const { before } = view;
  const change = before === undefined ? [] : [right("CHANGE")];
  const rows = TCP_STATES.map((state) => stateRow(state, view, chalk));
  const table = tableOf([["STATE", right("COUNT"), ...change, "MEANING"], ...rows]);
  return trimmed([table, ...footer(view, chalk)].join("\n"));
}

function stateRow(state: TcpState, { counts, before }: StatesView, chalk: ChalkInstance): Cell[] {
  const value = counts[state];
  const paint = value === 0 ? chalk.dim : (text: string): string => text;
  const change = before === undefined ? [] : [right(paint(changed(value - before[state])))];
  return [paint(state), right(paint(String(value))), ...change, chalk.dim(MEANING[state])];
}

function footer(view: StatesView, chalk: ChalkInstance): string[] {
  const total = totalOf(view.counts);
  const sockets = total === 1 ? "1 TCP socket" : `${total} TCP sockets`;
  const [first = "", ...rest] = wrapped(`${sockets}, from: ${view.from}`);
  const unstated =
    view.unstated === 0 ? [] : [`${view.unstated} more whose state the text does not show.`];
  const small = [...view.blindSpots, ...view.notes].flatMap((text) => wrapped(text));
  return [chalk.bold(first), ...rest, ...unstated, ...small.map((line) => chalk.dim(line))];
}

/** Groups of sockets, the largest first: key, total, and the states that are not zero. */
export function groupsTable(
  groups: readonly Group[],
  { by, color }: TableOptions & { readonly by: string },
): string {
  const chalk = painter(color);
  // Names of processes are foreign text: any character may be in them.
  const keys = groups.map((group) => safe(group.key));
  const rows = groups.map(({ total, counts }, index) => [
    chalk.bold(keys[index]),
    right(String(total)),
    compactCounts(counts).replaceAll(" ", ", "),
  ]);
  const longest = Math.max(...keys.map((key) => key.length), MIN_KEY);
  const key = Math.min(longest, MAX_KEY);
  const widths = [key, COUNT_COLUMN, WIDTH - 2 * GAP - key - COUNT_COLUMN];
  return trimmed(tableOf([[by.toUpperCase(), right("COUNT"), "STATES"], ...rows], widths));
}

/** What became of every line of a text. */
export function accountTable({ lines, rows, skippedByReason }: Tally): string {
  const skipped = [...skippedByReason].sort(([, one], [, other]) => other - one);
  return trimmed(
    tableOf(
      [
        [right("LINES"), "WHAT BECAME OF THEM"],
        [right(String(rows)), "sockets"],
        ...skipped.map(([reason, count]) => [right(String(count)), `skipped: ${safe(reason)}`]),
        [right(String(lines)), "in all"],
      ],
      [8, 70],
    ),
  );
}

/** Who says what about one instant, and for every difference the reason. */
export function reconcileTable(
  { columns, kernel, differences, inMotion, isReconciled }: Reconciliation,
  { color, notes }: TableOptions & { readonly notes: readonly string[] },
): string {
  const chalk = painter(color);
  const head = ["STATE", ...columns.map(({ observer }) => right(observer))];
  const rows = TCP_STATES.map((state) => [
    state,
    ...columns.map(({ counts }) => right(String(counts[state]))),
  ]);
  const totals = ["all", ...columns.map(({ counts }) => right(String(totalOf(counts))))];
  const numbers = kernel.map(({ name, value, predicted, meaning }) => {
    const says =
      value === predicted ? "as the table says" : chalk.bold(`the table says ${predicted}`);
    return `${name} = ${value}, ${says}: ${meaning}`;
  });
  const reasons = differences.map(({ observer, count, reason, isExplained, examples }) => {
    const where = isExplained ? "" : ` (${examples.join("; ")})`;
    return `${isExplained ? "" : "UNEXPLAINED "}${observer}: ${count} ${reason}${where}`;
  });
  const motion =
    inMotion === 0 ? [] : [`${inMotion} sockets came, went or changed meanwhile: left out`];
  const verdict = isReconciled
    ? "All differences are explained."
    : "There are unexplained differences.";
  const text = [...reasons, ...numbers, ...motion, ...notes].flatMap((line) => wrapped(line));
  return trimmed([tableOf([head, ...rows, totals]), ...text, chalk.bold(verdict)].join("\n"));
}

/**
 * The states that are not zero, or have just become zero, on one line: `ESTABLISHED=23(+2) TIME_WAIT=0(-7)`.
 * Without any it says `none`.
 */
export function compactCounts(counts: StateCounts, before?: StateCounts): string {
  const parts = TCP_STATES.flatMap((state) => {
    const change = before === undefined ? 0 : counts[state] - before[state];
    if (counts[state] === 0 && change === 0) return [];
    return [`${state}=${counts[state]}${change === 0 ? "" : `(${changed(change)})`}`];
  });
  return parts.length === 0 ? "none" : parts.join(" ");
}

function changed(change: number): string {
  return change === 0 ? "" : change > 0 ? `+${change}` : String(change);
}

function painter(color: boolean): ChalkInstance {
  return new Chalk({ level: color ? 1 : 0 });
}

function right(content: string): Cell {
  return { content, hAlign: "right" };
}

function tableOf(rows: readonly (readonly Cell[])[], colWidths: readonly number[] = []): string {
  const table = new Table({ ...PLAIN_TABLE, colWidths: [...colWidths], wordWrap: true });
  for (const row of rows) table.push([...row]);
  return table.toString();
}

function trimmed(text: string): string {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Breaks a sentence at blanks and line ends to lines of at most 80 columns; a longer word is cut. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const long of text.split(/\s+/).map(safe)) {
    const word = long.length > WIDTH - 2 ? `${long.slice(0, WIDTH - 3)}…` : long;
    if (line !== "" && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
