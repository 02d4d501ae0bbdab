/**
 * proc-plain: the short cut for the rows of /proc/net/tcp, whose first 11 columns have fixed widths.
 *
 * Reads IPv4 rows in place, without a copy of the line. Everything else is left to proc-net.ts, which reads these rows
 * just the same.
 */
import { isBlank, isDigit, skipBlanks } from "./lines.ts";
import type { Bounds } from "./reader.ts";
import type { Endpoint, Owner, SocketRecord, Timer } from "./record.ts";
import { stateOfCode } from "./state-names.ts";

const COLON = 58;
const SPACE = 32;
const ZERO = 48;
/** Behind the state: `tx_queue:rx_queue tr:tm->when retrnsmt`, 17, 11 and 8 characters with a blank before each. */
const QUEUES_AT = 3;
const TIMER_AT = QUEUES_AT + 18;
const RETRANSMITS_AT = TIMER_AT + 12;
const UID_AT = RETRANSMITS_AT + 8;
const MAX_ADDRESSES = 10_000;
const NO_OWNERS: readonly Owner[] = [];

/** The kernel counts timers in USER_HZ, 100 a second on every architecture that Node runs on. */
export const MS_PER_TICK = 10;
/** Names of the timers 0 to 4 (net/ipv4/tcp_ipv4.c, get_tcp4_sock). */
export const TIMERS = ["off", "on", "keepalive", "timewait", "persist"] as const;

/** Reads plain rows, one after the other. */
export class PlainProcRow {
  #number = 0;
  readonly #addresses = new Map<number, string>();

  /** The record of a little-endian IPv4 row of TCP, if the line is one, complete up to its inode. */
  record(text: string, { start, end, line }: Bounds): SocketRecord | undefined {
    const state = stateAt(text, start, end);
    // `AAAAAAAA:PPPP BBBBBBBB:QQQQ SS`: the first address begins 28 characters before the state.
    const local = state - 28;
    const isIPv4 =
      state >= 0 && text.charCodeAt(local + 8) === COLON && isBlank(text.charCodeAt(local - 1));
    if (!isIPv4 || state + UID_AT + 2 > end) return undefined;
    const sendQ = this.#hex(text, state + QUEUES_AT, 8);
    const recvQ = this.#hex(text, state + QUEUES_AT + 9, 8);
    const uid = this.#decimal(text, state + UID_AT, end);
    const timeout = this.#decimal(text, this.#number, end);
    const inode = this.#decimal(text, this.#number, end);
    if (sendQ < 0 || recvQ < 0 || uid < 0 || timeout < 0 || inode < 0) return undefined;
    const timer = this.#timer(text, state);
    if (timer === null) return undefined;
    const record: { -readonly [K in keyof SocketRecord]: SocketRecord[K] } = {
      protocol: "tcp",
      family: 4,
      local: this.#endpoint(text, local),
      remote: this.#endpoint(text, local + 14),
      state: stateOfCode(hexDigit(text.charCodeAt(state + 1))),
      recvQ,
      sendQ,
      owners: NO_OWNERS,
      line,
      uid,
      inode,
    };
    if (timer !== undefined) record.timer = timer;
    return record;
  }

  /** Undefined where none runs, null where the columns are not as they should be. */
  #timer(text: string, state: number): Timer | undefined | null {
    const name = TIMERS[this.#hex(text, state + TIMER_AT, 2)];
    const ticks = this.#hex(text, state + TIMER_AT + 3, 8);
    const retransmits = this.#hex(text, state + RETRANSMITS_AT, 8);
    if (name === undefined || ticks < 0 || retransmits < 0) return null;
    return name === "off" ? undefined : { name, remainingMs: ticks * MS_PER_TICK, retransmits };
  }

  #endpoint(text: string, at: number): Endpoint {
    const port = this.#hex(text, at + 9, 4);
    return { address: this.#address(this.#hex(text, at, 8)), port: port === 0 ? null : port };
  }

  /** The same few addresses come again and again: each is spelled once. */
  #address(word: number): string {
    const known = this.#addresses.get(word);
    if (known !== undefined) return known;
    if (this.#addresses.size > MAX_ADDRESSES) this.#addresses.clear();
    const address = `${word & 255}.${(word >>> 8) & 255}.${(word >>> 16) & 255}.${(word >>> 24) & 255}`;
    this.#addresses.set(word, address);
    return address;
  }

  /** The value of `length` hexadecimal digits; -1 if they are not. */
  #hex(text: string, start: number, length: number): number {
    let value = 0;
    for (let at = start; at < start + length; at += 1) {
      const digit = hexDigit(text.charCodeAt(at));
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }

  /** The number behind the blanks at `start`, -1 for none; leaves in `#number` where it ends. */
  #decimal(text: string, start: number, end: number): number {
    let at = skipBlanks(text, start, end);
    const first = at;
    let value = 0;
    for (; at < end; at += 1) {
      const code = text.charCodeAt(at);
      if (!isDigit(code)) break;
      value = value * 10 + code - ZERO;
    }
    this.#number = at;
    const isWord = at === end || isBlank(text.charCodeAt(at));
    return at > first && first > start && at - first <= 15 && isWord ? value : -1;
  }
}

/**
 * Where the two digits of the state stand in `text[start..end)`; -1 for a line that is no row: a slot, two endpoints and a
 * state below 10, with one blank between them.
 */
export function stateAt(text: string, start: number, end: number): number {
  let at = skipBlanks(text, start, end);
  const slot = at;
  while (at < end && isDigit(text.charCodeAt(at))) at += 1;
  if (at === slot || text.charCodeAt(at) !== COLON) return -1;
  const width = text.charCodeAt(at + 10) === COLON ? 8 : 32;
  if (!isEndpoint(text, at + 1, width) || !isEndpoint(text, at + width + 7, width)) return -1;
  const state = at + 2 * (width + 6) + 2;
  return isCode(text, state, end) ? state : -1;
}

/** A blank, `0`, a digit, and a blank or the end of the line. */
function isCode(text: string, at: number, end: number): boolean {
  if (at + 2 > end || text.charCodeAt(at - 1) !== SPACE || text.charCodeAt(at) !== ZERO)
    return false;
  return at + 2 === end || text.charCodeAt(at + 2) === SPACE;
}

/** A blank, `width` hexadecimal digits, a colon and 4 more. */
function isEndpoint(text: string, start: number, width: number): boolean {
  if (text.charCodeAt(start) !== SPACE || text.charCodeAt(start + width + 1) !== COLON)
    return false;
  for (let at = start + 1; at < start + width + 6; at += 1)
    if (at !== start + width + 1 && hexDigit(text.charCodeAt(at)) < 0) return false;
  return true;
}

/** The value of a hexadecimal digit as the kernel prints it, in capitals; -1 for any other character. */
export function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 65 && code <= 70 ? code - 55 : -1;
}
