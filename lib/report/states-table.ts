/** states-table: socket counts for people. At most 80 columns; every state has its row, for a zero is news too. */
import { Chalk, type ChalkInstance } from "chalk";
import Table from "cli-table3";
import type { Group } from "../sockets/filter.ts";
import { TCP_STATES, type StateCounts, type TcpState } from "../sockets/record.ts";

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

/** What a state means to somebody who looks for a fault: who has done what, and who has to act. */
const MEANING: Readonly<Record<TcpState, string>> = {
  ESTABLISHED: "open, data flows",
  SYN_SENT: "connecting: no answer yet",
  SYN_RECV: "being connected to: last ACK missing",
  FIN_WAIT1: "we closed, peer has not acknowledged",
  FIN_WAIT2: "we closed, peer has not",
  TIME_WAIT: "closed by us first, port kept for 60 s",
  CLOSE: "bound or opened, not connected",
  CLOSE_WAIT: "peer closed, our program has not",
  LAST_ACK: "closed by both, last ACK missing",
  LISTEN: "waits for connections",
  CLOSING: "both closed at once, ACK missing",
};

const WIDTH = 80;

/** One row for each of the 11 states, a total, and what the source cannot see. */
export function statesTable(view: StatesView, { color }: { readonly color: boolean }): string {
  const chalk = new Chalk({ level: color ? 1 : 0 });
  const table = plainTable(["STATE", "COUNT", ...(view.before ? ["CHANGE"] : []), "MEANING"]);
  for (const state of TCP_STATES) table.push(stateRow(state, view, chalk));
  return trimmed([table.toString(), ...footer(view, chalk)].join("\n"));
}

function stateRow(
  state: TcpState,
  { counts, before }: StatesView,
  chalk: ChalkInstance,
): (string | { content: string; hAlign: "right" })[] {
  const value = counts[state];
  const paint = value === 0 ? chalk.dim : (text: string): string => text;
  const change = before === undefined ? [] : [right(paint(changed(value - before[state])))];
  return [paint(state), right(paint(String(value))), ...change, chalk.dim(MEANING[state])];
}

function footer(view: StatesView, chalk: ChalkInstance): string[] {
  const total = TCP_STATES.reduce((sum, state) => sum + view.counts[state], 0);
  const [first = "", ...rest] = wrapped(`${counted(total)}, from: ${view.from}`);
  const unstated =
    view.unstated === 0 ? [] : [`${view.unstated} more whose state the text does not show.`];
  const small = [...view.blindSpots, ...view.notes].flatMap((text) => wrapped(text));
  return [chalk.bold(first), ...rest, ...unstated, ...small.map((line) => chalk.dim(line))];
}

function counted(total: number): string {
  return total === 1 ? "1 TCP socket" : `${total} TCP sockets`;
}

/** Groups of sockets, the largest first: key, total, and the states that are not zero. */
export function groupsTable(
  groups: readonly Group[],
  { by, color }: { readonly by: string; readonly color: boolean },
): string {
  const chalk = new Chalk({ level: color ? 1 : 0 });
  const table = plainTable([by.toUpperCase(), "COUNT", "STATES"], [24, 8, 44]);
  for (const { key, total, counts } of groups)
    table.push([
      chalk.bold(key),
      right(String(total)),
      compactCounts(counts).replaceAll(" ", ", "),
    ]);
  return trimmed(table.toString());
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

function trimmed(text: string): string {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

function changed(change: number): string {
  return change === 0 ? "" : change > 0 ? `+${change}` : String(change);
}

function right(content: string): { content: string; hAlign: "right" } {
  return { content, hAlign: "right" };
}

function plainTable(head: readonly string[], colWidths: readonly number[] = []): Table.Table {
  const line = { mid: "", "mid-mid": "", "left-mid": "", "right-mid": "" };
  return new Table({
    head: [...head],
    colWidths: [...colWidths],
    wordWrap: true,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2, compact: true },
    chars: { ...NO_BORDER, ...line },
  });
}

const NO_BORDER = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  right: "",
  middle: "",
};

/** Breaks a sentence at blanks to lines of at most 80 columns; a longer word is cut. */
function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const long of text.split(" ")) {
    const word = long.length > WIDTH - 2 ? `${long.slice(0, WIDTH - 3)}…` : long;
    if (line !== "" && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
