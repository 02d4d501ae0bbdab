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
/** Numbers of more digits are left to the slow path: these fit 32 bits, and V8 keeps them unboxed. */
const MAX_DIGITS = 9;
const ADDRESSES = 1_024;
const NO_OWNERS: readonly Owner[] = [];

/** Scans one row after the other; the findings of the last scan are its fields. */
export class PlainRow {
  state: TcpState = "CLOSE";
  #recvQ = 0;
  #sendQ = 0;
  #at = 0;
  #number = 0;
  #hash = 0;
  readonly #addresses: string[] = [];

  /** Finds the state of `text[start..end)` if it goes on with two numbers and something behind them. */
  scanState(text: string, start: number, end: number): boolean {
    let at = start;
    let wordEnd = skipWord(text, at, end);
    if (wordEnd - at === 3 && text.startsWith("tcp", at)) {
      at = skipBlanks(text, wordEnd, end);
      wordEnd = skipWord(text, at, end);
    }
    const state = stateNamed(text.slice(at, wordEnd));
    if (state === undefined) return false;
    this.state = state;
    if (!this.#readNumber(text, skipBlanks(text, wordEnd, end), end)) return false;
    this.#recvQ = this.#number;
    if (!this.#readNumber(text, this.#at, end)) return false;
    this.#sendQ = this.#number;
    return this.#at < end;
  }

  /** The record of a whole row, if it is plain to its end. */
  record(text: string, { start, end, line }: Bounds): SocketRecord | undefined {
    if (!this.scanState(text, start, end)) return undefined;
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
