/**
 * lsof: its table.
 *
 * lsof lists descriptors, not sockets: a socket that two processes share is two rows, one that nobody holds (TIME_WAIT,
 * SYN_RECV, not yet accepted) is none. The column widths vary and TID and TASKCMD come and go, so a row is read from its
 * TYPE outwards: `IPv4 DEVICE [SIZE/OFF] TCP NAME`.
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

class LsofReader implements Reader {
  readonly #sink: Sink;
  /** Descriptors of the process that is being listed: with TID a row is repeated for every thread. */
  readonly #seen = new Set<string>();
  #pid = 0;
  readonly #holders = new Map<string, number>();
  #hasThreads = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const type = typeAt(words);
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (HEADER.test(text)) {
      this.#hasThreads = words.includes("TID");
      this.#sink.skip(number, SKIP.header, text);
    } else if (type < 0) this.#sink.skip(number, reasonFor(words, text), text);
    else this.#row(words, type, { text, number });
  }

  end(): void {
    const shared = [...this.#holders.values()].filter((count) => count > 1).length;
    if (shared === 0) return;
    const least = this.#holders.size < MAX_DEVICES ? "" : "at least ";
    const sockets = shared === 1 ? "1 shared socket is" : `${shared} shared sockets are`;
    this.#sink.note(`lsof lists descriptors: ${least}${sockets} counted once for each holder`);
  }

  #countHolder(device: string): void {
    const known = this.#holders.get(device) ?? 0;
    if (device === "" || (known === 0 && this.#holders.size >= MAX_DEVICES)) return;
    this.#holders.set(device, known + 1);
  }

  #row(words: readonly string[], type: number, at: { text: string; number: number }): void {
    const owner = ownerOf(words, type);
    const device = words[type + 1] ?? "";
    const descriptor = `${words[type - 1] ?? ""}/${device}`;
    if (owner.pid !== this.#pid) this.#seen.clear();
    this.#pid = owner.pid;
    if (this.#hasThreads && this.#seen.has(descriptor)) {
      this.#sink.skip(at.number, "the same descriptor, seen from another thread", at.text);
      return;
    }
    if (this.#hasThreads) this.#seen.add(descriptor);
    const protocolAt = protocolIndex(words, type);
    const protocol = words[protocolAt] === "TCP" ? "tcp" : "udp";
    if (protocol === "tcp") this.#countHolder(device);
    const name = nameOf(words.slice(protocolAt + 1), { ...at, protocol });
    const family = TYPES.get(words[type] ?? "") ?? familyOf(name.local);
    this.#sink.record({
      protocol,
      family,
      ...name,
      recvQ: undefined,
      sendQ: undefined,
      owners: [owner],
      line: at.number,
      ...(wholeNumber(device) === undefined ? {} : { inode: Number(device) }),
    });
  }
}

/** Where the TYPE of an IP row stands, if this is one; the protocol is two or three words behind it. */
function typeAt(words: readonly string[]): number {
  for (let index = 3; index < words.length - 2; index += 1)
    if (TYPES.has(words[index] ?? "") && protocolIndex(words, index) > 0) return index;
  return -1;
}

function protocolIndex(words: readonly string[], type: number): number {
  for (const at of [type + 3, type + 2]) if (words[at] === "TCP" || words[at] === "UDP") return at;
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

/** What the NAME of a socket says. */
export type SocketName = {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly state: TcpState | undefined;
};

const ANY: Endpoint = { address: "*", port: null };

/** Reads `local`, `local->remote`, and what -T puts behind it in brackets: `(LISTEN)`, `(ESTABLISHED QR=0 QS=0)`. */
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
  const stateWord = suffix
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
