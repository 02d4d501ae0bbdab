/**
 * ss-plain: the short cut for the rows that nearly all rows are.
 *
 * `ESTAB 0 0 127.0.0.1:80 127.0.0.1:51650` with an optional `tcp` before it and nothing but blanks behind it, IPv4 or
 * `*`. One pass over the characters, no array, no regular expression. Everything else is left to ss.ts, which reads these
 * rows just the same: this file decides nothing, it is only faster.
 */
import { isBlank, skipBlanks, skipWord } from "./lines.ts";
import type { Bounds } from "./reader.ts";
import type { Endpoint, Owner, SocketRecord, TcpState } from "./record.ts";
import { stateNamed } from "./state-names.ts";

const COLON = 58;
const DOT = 46;
const STAR = 42;
const ZERO = 48;
const SPACE = 32;
/** The fifth letter of `FIN-WAIT-1`. */
const DASH_OF_FIN = 87;
/** Numbers of more digits are left to the slow path: these fit 32 bits, and V8 keeps them unboxed. */
const MAX_DIGITS = 9;
const ADDRESSES = 1_024;
const SPELLED_BY_SS =
  "ESTAB SYN-SENT SYN-RECV FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT UNCONN CLOSE-WAIT LAST-ACK LISTEN CLOSING".split(
    " ",
  );
const NO_OWNERS: readonly Owner[] = [];

/** Scans one row after the other; the findings of the last scan are its fields. */
export class PlainRow {
  state: TcpState = "CLOSE";
  /** Is there a tab anywhere in the text? To be set before its first row. */
  hasTabs = true;
  #recvQ = 0;
  #sendQ = 0;
  #at = 0;
  #number = 0;
  #hash = 0;
  readonly #addresses: string[] = [];

  /** Is `text[start..end)` a row with a state, two numbers and two endpoints? What follows them does not matter. */
  isRow(text: string, start: number, end: number): boolean {
    if (!this.#scanState(text, start, end)) return false;
    const localEnd = this.#wordEnd(text, this.#at, end);
    if (!isEndpoint(text, this.#at, localEnd)) return false;
    const remote = skipBlanks(text, localEnd, end);
    return isEndpoint(text, remote, this.#wordEnd(text, remote, end));
  }

  #scanState(text: string, start: number, end: number): boolean {
    let at = start;
    if (text.startsWith("tcp ", at)) at = skipBlanks(text, at + 3, end);
    const spelling = spellingAt(text, at);
    if (spelling === undefined) return false;
    this.state = spelling.state;
    at = skipBlanks(text, at + spelling.word.length, end);
    if (!this.#readNumber(text, at, end)) return false;
    this.#recvQ = this.#number;
    if (!this.#readNumber(text, this.#at, end)) return false;
    this.#sendQ = this.#number;
    return this.#at < end;
  }

  /** The record of a whole row, if it is plain to its end. */
  record(text: string, { start, end, line }: Bounds): SocketRecord | undefined {
    if (!this.#scanState(text, start, end)) return undefined;
    const { state } = this;
    const recvQ = this.#recvQ;
    const sendQ = this.#sendQ;
    const local = this.#endpoint(text, this.#at, end);
    if (local === undefined) return undefined;
    const remote = this.#endpoint(text, this.#at, end);
    if (remote === undefined || this.#at !== end) return undefined;
    const family = local.address === "*" && remote.address === "*" ? undefined : 4;
    return { protocol: "tcp", family, local, remote, state, recvQ, sendQ, owners: NO_OWNERS, line };
  }

  /** A number and the blanks behind it; leaves `#at` at the next word. */
  #readNumber(text: string, start: number, end: number): boolean {
    let at = start;
    let number = 0;
    for (; at < end; at += 1) {
      const digit = text.charCodeAt(at) - ZERO;
      if (digit < 0 || digit > 9) break;
      number = (number * 10 + digit) | 0;
    }
    this.#number = number;
    if (at === start || at - start > MAX_DIGITS) return false;
    if (at < end && !isBlank(text.charCodeAt(at))) return false;
    this.#at = skipBlanks(text, at, end);
    return true;
  }

  /** `1.2.3.4:80`, `*:80`, `1.2.3.4:*` and the blanks behind it; leaves `#at` at the next word. */
  #endpoint(text: string, start: number, end: number): Endpoint | undefined {
    const colon = this.#addressEnd(text, start, end);
    if (colon < 0) return undefined;
    const address = this.#interned(text, start, colon);
    if (
      text.charCodeAt(colon + 1) === STAR &&
      (colon + 2 === end || isBlank(text.charCodeAt(colon + 2)))
    ) {
      this.#at = skipBlanks(text, colon + 2, end);
      return { address, port: null };
    }
    if (!this.#readNumber(text, colon + 1, end)) return undefined;
    return { address, port: this.#number === 0 ? null : this.#number };
  }

  /**
   * Where a word ends. Looking for a space is many times faster than for any blank, and right in a text without tabs. It
   * stays linear: a row has spaces before its endpoints, so no search goes further than to the next row.
   */
  #wordEnd(text: string, start: number, end: number): number {
    if (this.hasTabs) return skipWord(text, start, end);
    const space = text.indexOf(" ", start);
    return space < 0 || space > end ? end : space;
  }

  /** Where the colon behind `*` or a dotted quad is, and in `#hash` a hash of what is before it; -1 for other addresses. */
  #addressEnd(text: string, start: number, end: number): number {
    let dots = 0;
    let hash = 0;
    for (let at = start; at < end; at += 1) {
      const code = text.charCodeAt(at);
      if (code === COLON) {
        this.#hash = hash;
        const isStar = text.charCodeAt(start) === STAR;
        return (isStar ? at === start + 1 : dots === 3) ? at : -1;
      }
      if (code === DOT) dots += 1;
      else if ((code < ZERO || code > COLON) && at > start) return -1;
      hash = (hash * 31 + code) | 0;
    }
    return -1;
  }

  /** The same few addresses come again and again: one string for each of them saves most of the memory. */
  #interned(text: string, start: number, end: number): string {
    const slot = this.#hash & (ADDRESSES - 1);
    const known = this.#addresses[slot];
    if (known?.length === end - start && text.startsWith(known, start)) return known;
    const address = text.slice(start, end);
    this.#addresses[slot] = address;
    return address;
  }
}

/** A word with a colon, and behind the last one a port, which has no dot in it. As colonEndpoint() wants it. */
function isEndpoint(text: string, start: number, end: number): boolean {
  for (let at = end - 1; at >= start; at -= 1) {
    const code = text.charCodeAt(at);
    if (code === COLON) return true;
    if (code === DOT) return false;
  }
  return false;
}

type Spelling = { readonly word: string; readonly state: TcpState };

/** The words of ss by their first and fifth letter, and the tenth where there is one: together they tell them apart. */
const BY_LETTERS: readonly (Spelling | undefined)[] = spellingsByLetters();

function spellingsByLetters(): (Spelling | undefined)[] {
  const table: (Spelling | undefined)[] = [];
  for (const word of SPELLED_BY_SS) {
    const state = stateNamed(word);
    if (state !== undefined) table[lettersOf(`${word} `, 0)] = { word, state };
  }
  return table;
}

function lettersOf(text: string, start: number): number {
  const fifth = text.charCodeAt(start + 4);
  const tenth = fifth === DASH_OF_FIN ? text.charCodeAt(start + 9) : 0;
  return (text.charCodeAt(start) * 128 + fifth + tenth) & 16_383;
}

/** The spelling that `text` has at `start`, if it is one of ss and a blank follows. */
function spellingAt(text: string, start: number): Spelling | undefined {
  const spelling = BY_LETTERS[lettersOf(text, start)];
  if (spelling === undefined || !text.startsWith(spelling.word, start)) return undefined;
  return text.charCodeAt(start + spelling.word.length) === SPACE ? spelling : undefined;
}
