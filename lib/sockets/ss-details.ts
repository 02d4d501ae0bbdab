/**
 * ss-details: what -p -o -e -m -i append to a row of ss.
 *
 * `users:((...))`, `timer:(...)`, `uid:0 ino:1 sk:2`, `skmem:(...)`, and for -i a run of `key:value`, `key value` and
 * bare words that differs with every version (misc/ss.c, tcp_stats_print). Known things become fields, the rest is kept
 * word for word.
 */
import { isBlank, skipBlanks, skipWord, wholeNumber } from "./lines.ts";
import type { Owner, Timer } from "./record.ts";

/** What the details of a row say so far: filled in place, for a row may have any number of lines of them. */
export type Details = {
  owners: Owner[];
  timer?: Timer;
  uid?: number | string;
  inode?: number;
  details?: Record<string, string>;
};

/** Words of -i that take the next word as their value: `send 1Mbps`. */
const KEYS_BEFORE_A_SPACE: ReadonlySet<string> = new Set([
  "send",
  "pacing_rate",
  "delivery_rate",
  "dctcp",
]);

/** Bare words of -i that are flags; any other bare word is the name of the congestion control. */
const FLAGS: ReadonlySet<string> = new Set(
  "ts sack ecn ecnseen fastopen app_limited backup mptcp sndbuf_limited rwnd_limited".split(" "),
);

/**
 * Reads the part of a row behind the peer address, or a whole line of details, into `details`. Unknown words are kept,
 * not refused.
 */
function readDetails(text: string, details: Details = { owners: [] }): Details {
  let at = skipBlanks(text, 0, text.length);
  while (at < text.length) {
    const end = itemEnd(text, at);
    const item = text.slice(at, end);
    at = skipBlanks(text, end, text.length);
    if (known(item, details)) continue;
    // Without a prototype: the keys are foreign text, and `__proto__` must be a key like any other.
    details.details ??= Object.create(null) as Record<string, string>;
    if (KEYS_BEFORE_A_SPACE.has(item)) {
      const valueEnd = skipWord(text, at, text.length);
      details.details[item] = text.slice(at, valueEnd);
      at = skipBlanks(text, valueEnd, text.length);
    } else {
      const [key, value] = pair(item);
      details.details[key] = value;
    }
  }
  return details;
}

/** A process may have a line break in its name, and ss prints it: how the line begins that the rest of the name is on. */
export const NAME_END = /^[^"]*",(?:pid=)?\d+,[^()"]*\)/;

/** The details of one row, line by line: a list of owners that breaks off in a name goes on in the next one. */
export class RowDetails {
  #details: Details | undefined;
  /** Lines that are still to be read: their list has no end yet. */
  #brokenOff: string[] = [];

  /** The words behind the addresses of the row, or a line below it. */
  add(text: string): void {
    const list = this.#brokenOff.length > 0 ? 0 : text.lastIndexOf("users:((");
    this.#brokenOff.push(text);
    if (list < 0 || text.includes("))", list)) this.#read();
  }

  /** All of them, if there are any; the next ones are another row's. */
  take(): Details | undefined {
    if (this.#brokenOff.length > 0) this.#read();
    const details = this.#details;
    this.#details = undefined;
    return details;
  }

  #read(): void {
    this.#details = readDetails(this.#brokenOff.join("\n"), this.#details);
    this.#brokenOff = [];
  }
}

/** An item ends at a blank, but `users:(("a b",pid=1,fd=2))` ends at its closing brackets. */
function itemEnd(text: string, start: number): number {
  if (!text.startsWith("users:((", start)) return skipWord(text, start, text.length);
  const close = text.indexOf("))", start);
  let end = close === -1 ? text.length : close + 2;
  // A process may be called `x))`: the list ends where nothing but a blank follows.
  while (end < text.length && !isBlank(text.charCodeAt(end))) {
    const next = text.indexOf("))", end);
    end = next === -1 ? text.length : next + 2;
  }
  return end;
}

function known(item: string, draft: Details): boolean {
  const colon = item.indexOf(":");
  const value = item.slice(colon + 1);
  switch (item.slice(0, colon)) {
    case "users":
      for (const owner of readUsers(value)) draft.owners.push(owner);
      return true;
    case "timer": {
      const timer = readTimer(value);
      if (timer !== undefined) draft.timer = timer;
      return timer !== undefined;
    }
    case "uid":
      draft.uid = wholeNumber(value) ?? value;
      return true;
    case "ino": {
      const inode = wholeNumber(value);
      if (inode !== undefined) draft.inode = inode;
      return inode !== undefined;
    }
    default:
      return false;
  }
}

function pair(item: string): [string, string] {
  const colon = item.indexOf(":");
  if (colon > 0) return [item.slice(0, colon), item.slice(colon + 1)];
  return FLAGS.has(item) || !/^[a-z]/.test(item) ? [item, ""] : ["congestion", item];
}

/**
 * Reads `(("nginx",pid=583,fd=8),("nginx",pid=582,fd=8))`, and `(("sshd",1231,3))` as ss printed before 2014. A name may
 * hold blanks, brackets and commas; it ends at the quotation mark that numbers follow.
 */
export function readUsers(list: string): Owner[] {
  const owners: Owner[] = [];
  const tail = /",(?:pid=)?(\d+),([^()"]*)\)/g;
  let open = list.indexOf('("');
  while (open !== -1) {
    tail.lastIndex = open + 2;
    const found = tail.exec(list);
    if (found === null) break;
    const [, pid, rest = ""] = found;
    // -Z puts a security context between them.
    const fd = wholeNumber(rest) ?? wholeNumber(/(?:^|,)fd=(\d+)/.exec(rest)?.[1]);
    owners.push({
      name: list.slice(open + 2, found.index),
      pid: Number(pid),
      ...(fd === undefined ? {} : { fd }),
    });
    open = list.indexOf('("', tail.lastIndex);
  }
  return owners;
}

/** Reads `(keepalive,119min,0)`. */
export function readTimer(text: string): Timer | undefined {
  const [name, time, retransmits] = text.replaceAll(/[()]/g, "").split(",");
  const remainingMs = readDuration(time ?? "");
  const count = wholeNumber(retransmits);
  if (name === undefined || remainingMs === undefined || count === undefined) return undefined;
  return { name, remainingMs, retransmits: count };
}

/**
 * Milliseconds of `119min`, `1min59sec`, `12sec`, `500ms`. Beware of `9.123ms`: ss means 9.123 seconds (misc/ss.c,
 * print_ms_timer prints the seconds, a dot, the milliseconds and then "ms").
 */
function readDuration(text: string): number | undefined {
  const found = /^(?:(\d+)min)?(?:(\d+)sec|(?:(\d+)\.)?(\d+)ms)?$/.exec(text);
  if (text === "" || found === null) return text === "" ? 0 : undefined;
  const [, minutes = "0", seconds, dotted = "0", ms = "0"] = found;
  return Number(minutes) * 60_000 + Number(seconds ?? dotted) * 1_000 + Number(ms);
}
