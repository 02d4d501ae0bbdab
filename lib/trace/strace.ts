/**
 * strace: the text of `strace -f -ttt -T -yy` becomes system calls.
 *
 * A call that another thread's interrupted in the text stands in two lines, "<unfinished ...>" and "<... resumed>", which are
 * joined. A line is stamped before its arguments are decoded, and for a socket's name strace asks the kernel, which can take a
 * millisecond; the duration of -T begins behind that. So beginning plus duration is when a call returned at the earliest, and the
 * thread's next line when it did at the latest. Source: strace(1); printleader() and syscall_entering_finish() in its source.
 */
import { ParseError } from "../sockets/parse-error.ts";

/** One system call of a traced thread. */
export type Syscall = {
  /** The thread, as strace prints it; 0 where it traced only one and printed none. */
  readonly pid: number;
  readonly name: string;
  /** What stood between the brackets, as strace printed it: decoded and shortened. */
  readonly args: string;
  /** What stood behind `=`: `10`, `-1 EAGAIN (Resource temporarily unavailable)`, `?`; undefined when the call never returned. */
  readonly result: string | undefined;
  /** Nanoseconds since 1970 on CLOCK_REALTIME. */
  readonly beginNs: bigint;
  /** When it returned, at the earliest; undefined when it never did. Exact for a call in two lines, which has a stamp for either. */
  readonly endNs: bigint | undefined;
  /** When it had returned for certain: the thread did something else. Undefined when that was never seen. */
  readonly doneByNs: bigint | undefined;
};

/** What else happens to a thread: `+++ exited with 0 +++`, `--- SIGTERM {...} ---`. */
export type ThreadEvent = { readonly pid: number; readonly atNs: bigint; readonly text: string };

/** What a text of strace holds, in the order in which it began. */
export type StraceText = {
  readonly calls: readonly Syscall[];
  readonly events: readonly ThreadEvent[];
};

const LINE = /^(?:(?:\[pid +)?(\d+)\]?\s+)?(\d+\.\d+) (.*)$/s;
const EVENT = /^(?:\+\+\+|---) (.*) (?:\+\+\+|---)$/s;
const RESUMED = /^<\.\.\. (\w+) resumed>(.*)$/s;
const OPENING = /^(\w+)\((.*)$/s;
/** Detached: strace left the process while it was in the call. */
const UNFINISHED = / ?<(?:unfinished|detached) \.\.\.>$/;
const RESULT = /^(.*)\)\s+= (.+?)(?: <(\d+\.\d+)>)?$/s;

const NEVER = { result: undefined, endNs: undefined, doneByNs: undefined } as const;

type Begun = {
  readonly pid: number;
  readonly name: string;
  readonly args: string;
  readonly beginNs: bigint;
  /** Its place among all calls. */
  readonly index: number;
};

/** Reads the text. Lines in which strace talks about itself are skipped; any other that it cannot read is a ParseError. */
export function parseStrace(text: string): StraceText {
  return new StraceReader().read(text);
}

class StraceReader {
  readonly #calls: Syscall[] = [];
  readonly #events: ThreadEvent[] = [];
  readonly #begun = new Map<number, Begun>();
  /** Thread to its last call that has returned. */
  readonly #last = new Map<number, number>();
  #line = 0;
  #text = "";

  read(text: string): StraceText {
    for (const line of text.split("\n")) {
      this.#line += 1;
      this.#text = line;
      if (line !== "" && !line.startsWith("strace: ")) this.#readLine(line);
    }
    // What never returned is a call too: a thread was waiting in it when it ended.
    for (const { index, ...begun } of this.#begun.values())
      this.#calls[index] = { ...begun, ...NEVER };
    return { calls: this.#calls, events: this.#events };
  }

  #readLine(line: string): void {
    const [, pidText = "0", time = "", what = ""] = LINE.exec(line) ?? this.#refuse("no time");
    const pid = Number(pidText);
    const atNs = nanoseconds(time);
    this.#finish(pid, atNs);
    const event = EVENT.exec(what)?.[1];
    const [, resumedName, rest = ""] = RESUMED.exec(what) ?? [];
    if (event !== undefined) this.#events.push({ pid, atNs, text: event });
    else if (resumedName !== undefined) this.#resume(pid, resumedName, { rest, atNs });
    else this.#open(pid, atNs, what);
  }

  #open(pid: number, beginNs: bigint, what: string): void {
    const [, name = "", rest = ""] = OPENING.exec(what) ?? this.#refuse("no system call");
    const index = this.#calls.length;
    if (UNFINISHED.test(rest)) {
      const args = rest.replace(UNFINISHED, "");
      const begun = { pid, name, args, beginNs, index };
      this.#begun.set(pid, begun);
      this.#calls.push({ pid, name, args, beginNs, ...NEVER });
      return;
    }
    const { args, result, durationNs } = this.#ending(rest);
    const call = { pid, name, args, result, beginNs, endNs: beginNs + durationNs };
    this.#returned(pid, index, { ...call, doneByNs: undefined });
  }

  #resume(pid: number, name: string, { rest, atNs }: { rest: string; atNs: bigint }): void {
    const begun = this.#begun.get(pid);
    if (begun?.name !== name) this.#refuse(`${name} resumed without having begun`);
    this.#begun.delete(pid);
    const { args, result } = this.#ending(rest);
    const { beginNs, index } = begun;
    const call = { pid, name, args: begun.args + args, result, beginNs, endNs: atNs };
    this.#returned(pid, index, { ...call, doneByNs: undefined });
  }

  #returned(pid: number, index: number, call: Syscall): void {
    this.#calls[index] = call;
    this.#last.set(pid, index);
  }

  /** A new line of a thread: what it did before is over. */
  #finish(pid: number, atNs: bigint): void {
    const index = this.#last.get(pid);
    const call = index === undefined ? undefined : this.#calls[index];
    if (index !== undefined && call?.doneByNs === undefined && call !== undefined)
      this.#calls[index] = { ...call, doneByNs: atNs };
    this.#last.delete(pid);
  }

  #ending(rest: string): {
    readonly args: string;
    readonly result: string;
    readonly durationNs: bigint;
  } {
    const [, args = "", result = "", duration] = RESULT.exec(rest) ?? this.#refuse("no result");
    return { args, result, durationNs: nanoseconds(duration ?? "0") };
  }

  #refuse(reason: string): never {
    throw new ParseError({ format: "strace", reason, line: this.#line, text: this.#text });
  }
}

/** Nanoseconds of `1795245589.264097` or any other number of digits; what is finer is cut off. */
export function nanoseconds(seconds: string): bigint {
  const [whole = "0", fraction = ""] = seconds.split(".");
  return BigInt(whole) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, "0"));
}

/**
 * The arguments of a call, one by one: split at the commas that stand neither in brackets nor in a string. Never fails: brackets
 * that do not close hold all that follows.
 */
export function splitArguments(args: string): readonly string[] {
  const found: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < args.length; at += 1) {
    const character = args[at] ?? "";
    if (character === '"') at = stringEnd(args, at);
    else if ("([{<".includes(character)) depth += 1;
    else if (")]}>".includes(character) && !isArrow(args, at)) depth = Math.max(0, depth - 1);
    else if (character === "," && depth === 0) {
      found.push(args.slice(from, at).trim());
      from = at + 1;
    }
  }
  return args.trim() === "" ? [] : [...found, args.slice(from).trim()];
}

/** The index of the quotation mark that closes the one at `at`. */
function stringEnd(text: string, at: number): number {
  for (let end = at + 1; end < text.length; end += 1) {
    if (text[end] === "\\") end += 1;
    else if (text[end] === '"') return end;
  }
  return text.length;
}

/** The `>` of `->` and `=>` closes nothing. */
function isArrow(text: string, at: number): boolean {
  return text[at] === ">" && "-=".includes(text[at - 1] ?? " ");
}

/** The number that a call returned; undefined for an error, for `?` and for one that never returned. */
export function returned(call: Syscall): number | undefined {
  const number = /^(\d+)(?:$|[ <])/.exec(call.result ?? "")?.[1];
  return number === undefined ? undefined : Number(number);
}

/** The errno with which a call failed: `ECONNREFUSED`. */
export function errnoOf(call: Syscall): string | undefined {
  return /^-1 (E[A-Z0-9]+)/.exec(call.result ?? "")?.[1];
}
