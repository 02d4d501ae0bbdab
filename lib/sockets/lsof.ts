/**
 * lsof: its table.
 *
 * lsof lists descriptors, not sockets: a socket that two processes share is two rows, one that nobody holds (TIME_WAIT,
 * SYN_RECV, not yet accepted) is none. The column widths vary and TID, TASKCMD and FILE-FLAG come and go, so a row is read
 * from its TYPE outwards: `IPv4 [FILE-FLAG] DEVICE [SIZE/OFF] TCP NAME`.
 */
import { colonEndpoint, familyOf } from "./endpoint.ts";
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { Endpoint, Owner, TcpState } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** The table of lsof, as an entry of the registry in formats.ts. */
export const lsof: Format = {
  name: "lsof",
  tool: "lsof",
  about: "lsof -nP -i (table)",
  recognises: (line) => HEADER.test(line) || typeAt(wordsOf(line)) >= 0,
  open: (sink) => new LsofReader(sink),
};

const HEADER = /^COMMAND +PID\b.* NAME\s*$/;
const TYPES: ReadonlyMap<string, 4 | 6 | undefined> = new Map([
  ["IPv4", 4],
  ["IPv6", 6],
  ["inet", undefined],
  ["inet6", 6],
]);
/** FD column: a number, an access mode and a lock. */
const FD = /^(\d+)[ruw-]?[A-Za-z]?$/;

/** Holders are counted for so many sockets: a list of any length is read in constant memory. */
const MAX_DEVICES = 100_000;

/** The farthest that a protocol stands behind its TYPE: options of +f put up to two columns between. */
const MAX_COLUMNS = 5;
/** What else lsof prints where TCP and UDP stand (dsock.c, print_iproto). */
const OTHER_PROTOCOLS = /^(?:ICMP|ICMPV6|IGMP|SCTP|DCCP|GRE|ESP|AH|OSPF|PIM|RAW|UDPLITE)$/i;

class LsofReader implements Reader {
  readonly #sink: Sink;
  /** Descriptors of the process that is being listed: with TID a row is repeated for every thread. */
  readonly #seen = new Set<string>();
  #pid = 0;
  readonly #holders = new Map<string, number>();
  #shared = 0;
  #isFull = false;
  #hasThreads = false;
  /** How many words behind TYPE the device is. */
  #deviceAt = 1;
  #unread = 0;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const type = typeAt(words);
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (HEADER.test(text)) {
      this.#header(words);
      this.#sink.skip(number, SKIP.header, text);
    } else if (type < 0) this.#noRow(words, { text, number });
    else this.#row(words, type, { text, number });
  }

  end(): void {
    this.#closeTable();
    if (this.#unread > 0)
      this.#sink.note(
        `rows of IPv4 or IPv6 without a known protocol: ${this.#unread}, not counted`,
      );
    if (this.#shared === 0) return;
    const shared = this.#shared;
    const least = this.#isFull ? "at least " : "";
    const sockets = shared === 1 ? "1 shared socket is" : `${shared} shared sockets are`;
    this.#sink.note(`lsof lists descriptors: ${least}${sockets} counted once for each holder`);
  }

  #header(words: readonly string[]): void {
    this.#closeTable();
    this.#hasThreads = words.includes("TID");
    this.#deviceAt = Math.max(1, words.indexOf("DEVICE") - words.indexOf("TYPE"));
  }

  /** With -r the same sockets come again in every table: they are not shared for that. */
  #closeTable(): void {
    this.#shared += [...this.#holders.values()].filter((count) => count > 1).length;
    this.#isFull ||= this.#holders.size >= MAX_DEVICES;
    this.#holders.clear();
    this.#seen.clear();
  }

  #noRow(words: readonly string[], { text, number }: { text: string; number: number }): void {
    const type = words.findIndex((word) => TYPES.has(word));
    const behind = words.slice(type + 1, type + 1 + MAX_COLUMNS);
    if (type >= 3 && !behind.some((word) => OTHER_PROTOCOLS.test(word))) this.#unread += 1;
    this.#sink.skip(number, reasonFor(words, text), text);
  }

  #countHolder(device: string): void {
    const known = this.#holders.get(device) ?? 0;
    if (device === "" || (known === 0 && this.#holders.size >= MAX_DEVICES)) return;
    this.#holders.set(device, known + 1);
  }

  #repeatReason(pid: number, descriptor: string): string | undefined {
    if (!this.#hasThreads) return undefined;
    if (pid !== this.#pid) this.#seen.clear();
    this.#pid = pid;
    if (this.#seen.has(descriptor)) return REPEATED;
    this.#seen.add(descriptor);
    return undefined;
  }

  #row(words: readonly string[], type: number, at: { text: string; number: number }): void {
    const owner = ownerOf(words, type);
    const protocolAt = protocolIndex(words, type);
    const device = words[Math.min(type + this.#deviceAt, protocolAt - 1)] ?? "";
    const name = words.slice(protocolAt + 1);
    const reason = isUnnamed(name.join(" "))
      ? NO_PCB
      : this.#repeatReason(owner.pid, `${words[type - 1] ?? ""}/${device}`);
    if (reason !== undefined) {
      this.#sink.skip(at.number, reason, at.text);
      return;
    }
    const protocol = words[protocolAt] === "TCP" ? "tcp" : "udp";
    if (protocol === "tcp") this.#countHolder(device);
    const ends = nameOf(name, { ...at, protocol });
    const family = TYPES.get(words[type] ?? "") ?? familyOf(ends.local);
    this.#sink.record({
      protocol,
      family,
      ...ends,
      recvQ: undefined,
      sendQ: undefined,
      owners: [owner],
      line: at.number,
      ...(wholeNumber(device) === undefined ? {} : { inode: Number(device) }),
    });
  }
}

/** Where the TYPE of an IP row stands, if this is one; the protocol is two or more words behind it. */
function typeAt(words: readonly string[]): number {
  for (let index = 3; index < words.length - 2; index += 1)
    if (TYPES.has(words[index] ?? "") && protocolIndex(words, index) > 0) return index;
  return -1;
}

function protocolIndex(words: readonly string[], type: number): number {
  for (let at = type + 2; at <= type + MAX_COLUMNS; at += 1)
    if (words[at] === "TCP" || words[at] === "UDP") return at;
  return -1;
}

function reasonFor(words: readonly string[], text: string): string {
  if (text.startsWith("lsof: ") || text.startsWith("      ")) return SKIP.prose;
  return words.includes("sock") ? "a socket that lsof cannot name" : "no socket of IP";
}

function ownerOf(words: readonly string[], type: number): Owner {
  let pidAt = 1;
  while (pidAt < type - 2 && wholeNumber(words[pidAt]) === undefined) pidAt += 1;
  const fd = FD.exec(words[type - 1] ?? "")?.[1];
  return {
    name: words
      .slice(0, pidAt)
      .join(" ")
      .replaceAll(/\\x([0-9a-f]{2})/g, unescape),
    pid: wholeNumber(words[pidAt]) ?? 0,
    ...(fd === undefined ? {} : { fd: Number(fd) }),
  };
}

function unescape(_: string, hex: string): string {
  return String.fromCharCode(Number.parseInt(hex, 16));
}

/** Why a row of a thread is no socket of its own. */
export const REPEATED = "the same descriptor, seen from another thread";

/** Why a socket without addresses is none: it is shut down for good, and only its descriptor is left (macOS). */
export const NO_PCB = "no PCB: only its descriptor is left";

/** Is this the NAME of a socket that has no addresses any more: `no PCB, CANTSENDMORE, CANTRCVMORE`? */
export function isUnnamed(name: string): boolean {
  return name.startsWith("no PCB");
}

/** What the NAME of a socket says. */
export type SocketName = {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly state: TcpState | undefined;
};

const ANY: Endpoint = { address: "*", port: null };

/**
 * Reads `local`, `local->remote`, and what -T puts behind it in brackets: `(LISTEN)`, `(ESTABLISHED QR=0 QS=0)`. Before the
 * brackets +E names the other end: `22354,python3,15u`.
 */
export function nameOf(
  [name = "", ...suffix]: readonly string[],
  { text, number, protocol }: { text: string; number: number; protocol: "tcp" | "udp" },
): SocketName {
  const arrow = name.indexOf("->");
  const local = colonEndpoint(arrow < 0 ? name : name.slice(0, arrow));
  const remote = arrow < 0 ? ANY : colonEndpoint(name.slice(arrow + 2));
  if (local === undefined || remote === undefined)
    return refuse("no address with a port", text, number);
  if (protocol === "udp") return { local, remote, state: undefined };
  const rest = suffix.join(" ");
  const stateWord = rest
    .slice(rest.lastIndexOf("(") + 1)
    .split(" ")
    .map((word) => word.replaceAll(/[()]|ST=/g, ""))
    .find((word) => word !== "" && !word.includes("="));
  const state = stateWord === undefined ? undefined : stateNamed(stateWord);
  if (stateWord !== undefined && state === undefined)
    refuse(`unknown state ${JSON.stringify(stateWord)}`, text, number);
  return { local, remote, state };
}

function refuse(reason: string, text: string, line: number): never {
  throw new ParseError({ format: "lsof", reason, line, text });
}
