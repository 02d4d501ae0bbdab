/**
 * proc-net: /proc/net/tcp and /proc/net/tcp6 (net/ipv4/tcp_ipv4.c, get_tcp4_sock and friends).
 *
 * Addresses are 32-bit words in the byte order of the host that wrote them, an IPv6 address four of them. TIME_WAIT and
 * SYN_RECV rows end earlier than others and have inode 0. A read that races with a change may cut the last row; its
 * first columns still say what there is to say, so it counts.
 */
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { hexDigit, MS_PER_TICK, PlainProcRow, stateAt, TIMERS } from "./proc-plain.ts";
import { collect, type ParsedText } from "./reading.ts";
import {
  SKIP,
  type Bounds,
  type Format,
  type ParseOptions,
  type Reader,
  type Sink,
} from "./reader.ts";
import type { Endpoint, SocketRecord, TcpState, Timer } from "./record.ts";
import { stateOfCode } from "./state-names.ts";

/** /proc/net/tcp and tcp6, as an entry of the registry in formats.ts. */
export const procNet: Format = {
  name: "procnet",
  tool: "proc",
  about: "/proc/net/tcp, /proc/net/tcp6 (Linux)",
  recognises: (line) => isHeader(line) || isRow(line),
  open: (sink, options) => new ProcNetReader(sink, options),
};

/**
 * Content of /proc/net/tcp or /proc/net/tcp6. Text without rows is an empty table. Throws ParseError.
 *
 * @param options - `endian` of the machine that wrote it; `protocol` udp for /proc/net/udp.
 */
export function parseProcNet(text: string, options: ParseOptions = {}): ParsedText {
  return collect(text, { formats: [procNet], name: procNet.name }, options);
}

const ROW = /^\s*\d+: ([0-9A-F]+):[0-9A-F]{4} ([0-9A-F]+):[0-9A-F]{4} [0-9A-F]{2}(?: |$)/;
/** Digits of an IPv4 and of an IPv6 address. */
const WIDTHS: ReadonlySet<number | undefined> = new Set([8, 32]);

class ProcNetReader implements Reader {
  readonly #sink: Sink;
  readonly #options: ParseOptions;
  #protocol: "tcp" | "udp";
  #hasRows = false;
  readonly #plain = new PlainProcRow();
  /** A line that is no row: forgiven when it turns out to be the last one. */
  #cut: { readonly text: string; readonly number: number } | undefined;

  constructor(sink: Sink, options: ParseOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#protocol = options.protocol ?? "tcp";
  }

  line(text: string, number: number): void {
    // Another header begins another file, tcp6 behind tcp: then the cut row was the last of its own.
    if (this.#cut !== undefined && !isHeader(text)) refuse("no row of /proc/net/tcp", this.#cut);
    this.#forgiveCut();
    if (isHeader(text)) {
      this.#header(text, number);
      return;
    }
    if (!isRow(text)) {
      this.#noRow(text, number);
      return;
    }
    this.#hasRows = true;
    this.#sink.record(this.#record(wordsOf(text), { text, number }));
  }

  end(): void {
    this.#forgiveCut();
  }

  #forgiveCut(): void {
    if (this.#cut === undefined) return;
    this.#sink.skip(this.#cut.number, "cut off before its state, at the end", this.#cut.text);
    this.#cut = undefined;
  }

  quick(text: string, start: number, end: number): TcpState | undefined {
    if (this.#protocol === "udp" || this.#cut !== undefined) return undefined;
    const at = stateAt(text, start, end);
    if (at < 0) return undefined;
    this.#hasRows = true;
    return stateOfCode(hexDigit(text.charCodeAt(at + 1)));
  }

  take(text: string, bounds: Bounds): boolean {
    if (this.#protocol === "udp" || this.#cut !== undefined || this.#options.endian === "big")
      return false;
    const record = this.#plain.record(text, bounds);
    if (record?.state === undefined) return false;
    this.#hasRows = true;
    this.#sink.record(record);
    return true;
  }

  #header(text: string, number: number): void {
    this.#hasRows = true;
    this.#sink.skip(number, SKIP.header, text);
    const isUdp = text.includes("drops");
    this.#protocol = this.#options.protocol ?? (isUdp ? "udp" : "tcp");
    if (!isUdp) return;
    this.#sink.note(
      `the header is that of /proc/net/udp; read as ${this.#protocol}` +
        (this.#protocol === "tcp" ? " because the source is called so" : ""),
    );
  }

  #noRow(text: string, number: number): void {
    if (text.trim() === "") {
      this.#sink.skip(number, SKIP.blank, text);
      return;
    }
    if (!/^\s*\d+: ?[0-9A-F]*/.test(text)) {
      if (this.#hasRows) refuse("no row of /proc/net/tcp", { text, number });
      this.#sink.skip(number, SKIP.prose, text);
      return;
    }
    this.#cut = { text, number };
  }

  #record(
    words: readonly string[],
    { text, number }: { text: string; number: number },
  ): SocketRecord {
    const [, local = "", remote = "", code = "", queues, timer, retransmits, uid, , inode] = words;
    const state = this.#protocol === "tcp" ? stateOfCode(Number.parseInt(code, 16)) : undefined;
    if (this.#protocol === "tcp" && state === undefined)
      refuse(`unknown state ${code}`, { text, number });
    return {
      protocol: this.#protocol,
      family: local.length === 13 ? 4 : 6,
      local: this.#endpoint(local),
      remote: this.#endpoint(remote),
      state,
      ...queuesOf(queues),
      owners: [],
      line: number,
      ...timerOf(timer, retransmits),
      ...(wholeNumber(uid) === undefined ? {} : { uid: Number(uid) }),
      ...(wholeNumber(inode) === undefined ? {} : { inode: Number(inode) }),
    };
  }

  #endpoint(word: string): Endpoint {
    const colon = word.length - 5;
    const port = Number.parseInt(word.slice(colon + 1), 16);
    const swap = this.#options.endian !== "big";
    return { address: addressOf(word.slice(0, colon), swap), port: port === 0 ? null : port };
  }
}

function refuse(reason: string, { text, number }: { text: string; number: number }): never {
  throw new ParseError({ format: "procnet", reason, line: number, text });
}

function isHeader(line: string): boolean {
  return line.includes("local_address") && line.includes("rem");
}

function isRow(line: string): boolean {
  const [, local, remote] = ROW.exec(line) ?? [];
  return WIDTHS.has(local?.length) && WIDTHS.has(remote?.length);
}

function queuesOf(word: string | undefined): {
  recvQ: number | undefined;
  sendQ: number | undefined;
} {
  if (word?.length !== 17) return { recvQ: undefined, sendQ: undefined };
  return {
    sendQ: Number.parseInt(word.slice(0, 8), 16),
    recvQ: Number.parseInt(word.slice(9), 16),
  };
}

function timerOf(word: string | undefined, retransmits: string | undefined): { timer?: Timer } {
  const name = TIMERS[Number.parseInt(word?.slice(0, 2) ?? "", 16)];
  if (word?.length !== 11 || name === undefined || name === "off") return {};
  const remainingMs = Number.parseInt(word.slice(3), 16) * MS_PER_TICK;
  return {
    timer: { name, remainingMs, retransmits: Number.parseInt(retransmits ?? "0", 16) || 0 },
  };
}

/** The text of an address of 8 or 32 hexadecimal digits; `swap` where the writer was little-endian. */
export function addressOf(hex: string, swap: boolean): string {
  const bytes = bytesOf(hex, swap);
  return bytes.length === 4 ? bytes.join(".") : ipv6(bytes);
}

function bytesOf(hex: string, swap: boolean): number[] {
  const bytes: number[] = [];
  for (let word = 0; word < hex.length; word += 8)
    for (let byte = 0; byte < 4; byte += 1) {
      const at = word + 2 * (swap ? 3 - byte : byte);
      bytes.push((hexDigit(hex.charCodeAt(at)) << 4) | hexDigit(hex.charCodeAt(at + 1)));
    }
  return bytes;
}

/** RFC 5952: the longest run of at least two zero groups becomes `::`; IPv4-mapped addresses end in dotted form. */
function ipv6(bytes: readonly number[]): string {
  const groups = Array.from(
    { length: 8 },
    (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0),
  );
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return `::ffff:${bytes.slice(12).join(".")}`;
  const { start, length } = longestZeroRun(groups);
  const text = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(":");
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  groups.forEach((group, index) => {
    if (group !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  });
  return best;
}
