/**
 * io: the one place that touches stdout, stderr and signals.
 *
 * Data goes to stdout, talk to stderr. A live line repaints itself on a terminal; elsewhere it becomes a line of
 * its own, at most once per second and only when it has changed; in the background (`server &`), where it would be painted over what is
 * being typed, it is not shown. The first Ctrl-C aborts `signal` so that a command can sum up; a second one ends it on the spot.
 */
import { fstatSync, readFileSync, writeSync } from "node:fs";
import type { WriteStream } from "node:tty";
import { stripVTControlCharacters } from "node:util";

/** What a command may use to talk to its user. */
export type Io = {
  /** Writes data to stdout, a newline added; a live line is cleared first. */
  readonly out: (text: string) => void;
  /** Writes talk to stderr, a newline added; a live line is cleared first. */
  readonly err: (text: string) => void;
  /** Shows text that replaces the text shown before: a status line, or a table of several lines. */
  readonly live: (text: string) => void;
  /** Aborted by SIGINT, SIGTERM, SIGHUP, or a reader that closed our stdout. */
  readonly signal: AbortSignal;
  /** May stdout, or stderr, carry colour? A terminal, and neither NO_COLOR nor TERM=dumb. */
  readonly color: { readonly out: boolean; readonly err: boolean };
  /** Does stdout, or stderr, lead to a terminal whose cursor can be moved? Not with TERM=dumb. */
  readonly isScreen: { readonly out: boolean; readonly err: boolean };
  /** Width for tables on stdout: the terminal's as it is now, or 80. */
  readonly columns: number;
  /** Height of the terminal on stdout as it is now, or 24. */
  readonly rows: number;
  /** From now on Ctrl-C is the business of a child that shares our terminal. */
  readonly leaveSignalsToChild: () => void;
  /** The exit code that an interruption asks for: 0 when the reader of stdout went away. */
  readonly interruption: () => number | undefined;
};

const LIVE_PLAIN_INTERVAL_MS = 1_000;
/** timeout(1) signals its command, and then the whole group that the command is in: nobody has lost patience so soon. */
const SAME_SIGNAL_MS = 100;
/** Signals that whole groups of processes get, from a terminal, a shell or timeout(1); and the exit code for each. */
export const SIGNALS: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** Connects a command of this name with this process's streams and signals. Call it once. */
export function processIo(name: string): Io {
  /** A full disk: what would have been written is lost, and whoever reads the exit code has to know. */
  const giveUp = ({ message }: Error): never => {
    process.stderr.write(`${name}: stdout: ${message}: what was to be printed is lost\n`);
    process.exit(2);
  };
  const controller = new AbortController();
  let exitCode: number | undefined;
  let interruptedMs = Infinity;
  const interrupt = (code: number): void => {
    if (performance.now() - interruptedMs > SAME_SIGNAL_MS) process.exit(code);
    interruptedMs = Math.min(interruptedMs, performance.now());
    exitCode ??= code;
    controller.abort();
  };
  for (const [name, code] of Object.entries(SIGNALS)) process.on(name, () => interrupt(code));
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // `states --watch | head -1` is no error: the reader has what it wanted. Each further write is refused, too: that is no second
    // Ctrl-C, and what began with one still ends with its code.
    if (error.code !== "EPIPE") giveUp(error);
    if (!controller.signal.aborted) interrupt(0);
  });
  process.stderr.on("error", () => undefined); // Talk that nobody hears is no reason to stop.
  const live = liveText(process.stderr);
  const isFile = fstatSync(STDOUT).isFile();
  return {
    out: (text) => {
      live.clear();
      if (isFile) writeWhole(`${text}\n`, giveUp);
      else process.stdout.write(`${text}\n`);
    },
    err: (text) => {
      live.clear();
      process.stderr.write(`${text}\n`);
    },
    live: live.show,
    signal: controller.signal,
    color: { out: mayColor(process.stdout), err: mayColor(process.stderr) },
    isScreen: { out: isScreen(process.stdout), err: isScreen(process.stderr) },
    get columns() {
      return (process.stdout.isTTY && process.stdout.columns) || 80;
    },
    get rows() {
      return (process.stdout.isTTY && process.stdout.rows) || 24;
    },
    leaveSignalsToChild: () => {
      process.removeAllListeners("SIGINT");
      process.on("SIGINT", () => undefined);
    },
    interruption: () => exitCode,
  };
}

const STDOUT = 1;

/** Into a file Node writes once, and what that had no room for is forgotten: only the next write(2) fails. */
function writeWhole(text: string, giveUp: (error: Error) => never): void {
  let rest = Buffer.from(text);
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(STDOUT, rest));
  } catch (error) {
    giveUp(error as Error);
  }
}

function mayColor(stream: WriteStream): boolean {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  if (NO_COLOR !== undefined && NO_COLOR !== "") return false;
  if (!["", "0", "false"].includes(FORCE_COLOR ?? "")) return true;
  return isScreen(stream);
}

function isScreen({ isTTY }: WriteStream): boolean {
  return isTTY && process.env["TERM"] !== "dumb";
}

type LiveText = { readonly show: (text: string) => void; readonly clear: () => void };

function liveText(stream: WriteStream): LiveText {
  return isScreen(stream) ? repaintedText(stream) : occasionalText(stream);
}

function repaintedText(stream: WriteStream): LiveText {
  let shownLines = 0;
  const clear = (): void => {
    if (!isInForeground()) shownLines = 0;
    if (shownLines === 0) return;
    const up = shownLines > 1 ? `\u001B[${shownLines - 1}A` : "";
    shownLines = 0;
    stream.write(`\r${up}\u001B[J`);
  };
  return {
    clear,
    show: (text) => {
      const lines = text.split("\n").map((line) => cut(line, stream.columns || 80));
      clear();
      if (!isInForeground()) return;
      shownLines = lines.length;
      stream.write(lines.join("\n"));
    },
  };
}

/** Does the terminal belong to our process group? Source: tcgetpgrp(3); pgrp and tpgid in proc_pid_stat(5). */
function isInForeground(): boolean {
  try {
    const stat = readFileSync("/proc/self/stat", "latin1");
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return foreground === "-1" || group === foreground;
  } catch {
    return true; // Not Linux.
  }
}

/** A line that wraps cannot be repainted, so it is cut; escape sequences take no width. */
function cut(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  return plain.length < columns ? line : plain.slice(0, columns - 1);
}

function occasionalText(stream: WriteStream): LiveText {
  let lastMs = -Infinity;
  let lastText = "";
  return {
    clear: () => undefined,
    show: (text) => {
      if (text === lastText || performance.now() - lastMs < LIVE_PLAIN_INTERVAL_MS) return;
      lastMs = performance.now();
      lastText = text;
      stream.write(`${text}\n`);
    },
  };
}
