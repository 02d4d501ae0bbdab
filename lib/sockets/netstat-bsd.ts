/**
 * netstat-bsd: macOS, FreeBSD, OpenBSD, HP-UX and AIX, the children of 4.2BSD.
 *
 * The port is behind the last dot. Before the protocol there may be a PCB address (-A) and a flow hash (macOS); behind the
 * foreign address a state, unless -T or -x put other columns there; behind that, on macOS, -b and -v columns that have
 * moved with every other release. The header tells which, so it is read for its words, never for its positions.
 */
import { isIPv4 } from "node:net";
import { dotEndpoint, looksLikeEndpoint, truncated } from "./endpoint.ts";
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { Endpoint, Owner, SocketRecord } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** netstat of BSD and macOS, as an entry of the registry in formats.ts. */
export const netstatBsd: Format = {
  name: "netstat-bsd",
  tool: "netstat",
  hasSections: true,
  about: "netstat -an (macOS, FreeBSD, OpenBSD, HP-UX, AIX)",
  recognises: (line) => isHeader(line) || line.startsWith(QUEUES) || isRow(wordsOf(line)),
  open: (sink) => new NetstatBsdReader(sink),
};

const SECTION = /^(?:Active|Registered) /;
const INTERNET = /^Active (?:Internet|IPv6|INET)/i;
/** -L: `Current listen queue sizes (qlen/incqlen/maxqlen)`. */
const QUEUES = "Current listen queue sizes";
const QUEUE = /^\d+\/\d+\/\d+$/;
const PROTOCOL = /^(tcp|udp)(4|6|46|64)?$/;
/** Widths of the address columns: 22 characters, or 18 behind a PCB address. */
const PCB_WIDTH = 18;
const WIDTH = 22;

type Row = { readonly text: string; readonly number: number; readonly words: readonly string[] };

class NetstatBsdReader implements Reader {
  readonly #sink: Sink;
  #header: Header = ANY_HEADER;
  #section: string | undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (SECTION.test(text) || text.startsWith(QUEUES)) this.#banner(text, number);
    else if (this.#section !== undefined) this.#sink.skip(number, this.#section, text);
    else if (isHeader(text)) {
      this.#header = readHeader(words);
      this.#sink.skip(number, SKIP.header, text);
    } else this.#row({ text, number, words });
  }

  end(): void {
    // Every line is complete in itself.
  }

  #banner(text: string, number: number): void {
    const isInternet =
      (INTERNET.test(text) && !text.includes("Multipath")) || text.startsWith(QUEUES);
    this.#section = isInternet ? undefined : `section: ${text.trim()}`;
    this.#sink.skip(number, SKIP.section, text);
  }

  #row(row: Row): void {
    const at = protocolAt(row.words);
    const [, protocol, family] = PROTOCOL.exec(row.words[at] ?? "") ?? [];
    if (this.#header.kind === "queues" && QUEUE.test(row.words[at + 1] ?? ""))
      this.#sink.record(this.#listener(row, { at, family }));
    else if (protocol === "tcp" || protocol === "udp")
      this.#sink.record(this.#record(row, { at, protocol, family }));
    else if (row.words.some(looksLikeEndpoint) && !isOtherRow(row.words))
      refuse(`unknown protocol ${JSON.stringify(row.words[0])}`, row);
    else {
      const isOther = isOtherRow(row.words);
      const name = row.words.find((word) => OTHER_PROTOCOLS.test(word)) ?? "";
      this.#sink.skip(row.number, isOther ? `${name}: ${SKIP.other}` : SKIP.prose, row.text);
    }
  }

  #record(
    row: Row,
    { at, protocol, family }: { at: number; protocol: "tcp" | "udp"; family: string | undefined },
  ): SocketRecord {
    const { number } = row;
    // UDP rows of -T leave the columns before the addresses empty.
    const queues = protocol === "udp" ? numbersFrom(row.words, at + 1) : this.#header.numbers;
    const words = withoutStar(row.words, at + 1 + queues + 2);
    const [local, remote, state] = words.slice(at + 1 + queues);
    const isPlain = queues === 2;
    return {
      protocol,
      family: familyOfName(family, local),
      local: this.#endpoint(local, row),
      remote: this.#endpoint(remote, row),
      state: protocol === "tcp" ? this.#state(state, row) : undefined,
      recvQ: isPlain ? wholeNumber(words[at + 1]) : undefined,
      sendQ: isPlain ? wholeNumber(words[at + 2]) : undefined,
      owners: protocol === "tcp" ? ownersOf(words.slice(at + 6), this.#header) : [],
      line: number,
    };
  }

  #state(word: string | undefined, row: Row): SocketRecord["state"] {
    if (this.#header.kind === "stateless") {
      this.#sink.note(
        "this layout of netstat (-T, -x) has no states: its TCP rows are in no count",
      );
      return undefined;
    }
    if (word === undefined) return refuse("no state", row);
    return stateNamed(word) ?? refuse(`unknown state ${JSON.stringify(word)}`, row);
  }

  /** A row of -L; macOS prints no protocol before it. */
  #listener(row: Row, { at, family }: { at: number; family: string | undefined }): SocketRecord {
    const [queue = "", address] = row.words.slice(at + 1);
    const [waiting, , limit] = queue.split("/");
    return {
      protocol: "tcp",
      family: familyOfName(family, address),
      local: this.#endpoint(address, row),
      remote: { address: "*", port: null },
      state: "LISTEN",
      recvQ: wholeNumber(waiting),
      sendQ: wholeNumber(limit),
      owners: [],
      line: row.number,
    };
  }

  #endpoint(word: string | undefined, row: Row): Endpoint {
    const endpoint = dotEndpoint(word ?? "");
    if (endpoint === undefined) return refuse("no address with a port", row);
    return mayBeCut(word ?? "", endpoint, this.#header.hasPcb) ? truncated(endpoint) : endpoint;
  }
}

/**
 * Did the column cut it? Names are cut to 16 characters and keep their port. Behind a PCB address the names are cut to
 * 12, and then the whole to 18: that takes digits of the port with it, and nothing but the length gives it away.
 */
function mayBeCut(word: string, { address, truncated }: Endpoint, hasPcb: boolean): boolean {
  if (truncated === true) return false;
  if (hasPcb) return address.length === 12 || word.length === PCB_WIDTH;
  return !isIPv4(address) && (address.length === 16 || word.length === WIDTH);
}

type Header = {
  readonly kind: "states" | "stateless" | "queues";
  /** A PCB address stands before the protocol: narrow columns. */
  readonly hasPcb: boolean;
  /** How many numbers stand between the protocol and the addresses of a TCP row. */
  readonly numbers: number;
  /** Where the process is among the words behind `(state)`, from 0, and in how many; -1 where it is not. */
  readonly pidAt: number;
  readonly processAt: number;
  readonly wordsBehind: number;
};

const ANY_HEADER: Header = {
  kind: "states",
  hasPcb: false,
  numbers: 2,
  pidAt: -1,
  processAt: -1,
  wordsBehind: 0,
};

function isHeader(line: string): boolean {
  if (!line.includes("Local Address")) return false;
  if (!line.includes("Proto")) return /^Listen +Local/.test(line);
  return (
    /\(state\)|Rexmit|R-MBUF|^Tcpcb|^Socket |^PCB|Log ID/.test(line) || /Listen +Local/.test(line)
  );
}

function readHeader(words: readonly string[]): Header {
  const at = words.indexOf("Proto");
  const state = words.indexOf("(state)");
  const behind = state < 0 ? [] : words.slice(state + 1);
  const kind = words.includes("Listen") ? "queues" : state < 0 ? "stateless" : "states";
  return {
    kind,
    hasPcb: at > 0,
    numbers: Math.max(words.indexOf("Local") - at - 1, 0),
    pidAt: behind.indexOf("pid"),
    processAt: behind.indexOf("process:pid"),
    wordsBehind: behind.length,
  };
}

/** A half-closed or half-open connection of macOS has a star behind its state: at once, or behind the blanks of its column. */
function withoutStar(words: readonly string[], at: number): readonly string[] {
  const state = words[at] ?? "";
  if (words[at + 1] === "*") return words.toSpliced(at + 1, 1);
  return /^\w+\*$/.test(state) ? words.with(at, state.slice(0, -1)) : words;
}

/** The first three words may be a PCB address, a flow hash and the protocol. */
function protocolAt(words: readonly string[]): number {
  return words.slice(0, 3).findIndex((word) => PROTOCOL.test(word));
}

const OTHER_PROTOCOLS =
  /^(?:icm|icmp|ip|raw|div|divert|igmp|esp|ah|pim|ospf|sctp|unix|vsock|gre|ipv6|udpl)(?:4|6|46|64)?$/;

function isOtherRow(words: readonly string[]): boolean {
  return words.slice(0, 3).some((word) => OTHER_PROTOCOLS.test(word));
}

function numbersFrom(words: readonly string[], start: number): number {
  let at = start;
  while (at < start + 3 && wholeNumber(words[at]) !== undefined) at += 1;
  return at - start;
}

function familyOfName(suffix: string | undefined, local: string | undefined): 4 | 6 | undefined {
  if (suffix !== undefined) return suffix === "4" ? 4 : 6;
  return local?.includes(":") === true ? 6 : undefined;
}

/**
 * The process of macOS -v. Until Sequoia it is a number below `pid`; since Tahoe it is `process:pid`, whose name may hold
 * blanks: then all words between the fixed columns before and behind it belong to it.
 */
function ownersOf(values: readonly string[], { pidAt, processAt, wordsBehind }: Header): Owner[] {
  const pid = pidAt < 0 ? undefined : wholeNumber(values[pidAt]);
  if (pid !== undefined) return [{ pid }];
  if (processAt < 0) return [];
  const behind = wordsBehind - processAt - 1;
  const text = values.slice(processAt, Math.max(0, values.length - behind)).join(" ");
  const colon = text.lastIndexOf(":");
  const number = wholeNumber(text.slice(colon + 1));
  return number === undefined ? [] : [{ pid: number, name: text.slice(0, colon) }];
}

/** A row without its header: dots before the ports, which Linux never prints. */
function isRow(words: readonly string[]): boolean {
  const at = protocolAt(words);
  if (at < 0 || numbersFrom(words, at + 1) !== 2) return false;
  const [local = "", remote = "", state = ""] = withoutStar(words, at + 5).slice(at + 3);
  const isDotted = hasDotPort(local) && hasDotPort(remote);
  return isDotted && (words[at]?.startsWith("udp") === true || stateNamed(state) !== undefined);
}

function hasDotPort(word: string): boolean {
  const dot = word.lastIndexOf(".");
  return dot > 0 && dot > word.lastIndexOf(":") && dot < word.length - 1;
}

function refuse(reason: string, { text, number }: Row): never {
  throw new ParseError({ format: "netstat-bsd", reason, line: number, text });
}
