/**
 * netstat-linux: net-tools and busybox.
 *
 * Both translate or drop words around the table, so rows are told from prose by what they look like: a protocol, two
 * numbers, two endpoints. The columns behind the state (User, Inode, PID/Program name, Timer) are named by the header;
 * without one they are told by shape.
 */
import { colonEndpoint, familyOf, looksLikeEndpoint, truncated } from "./endpoint.ts";
import { skipBlanks, skipWord, wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { Endpoint, Owner, SocketRecord, TcpState, Timer } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** netstat of Linux, as an entry of the registry in formats.ts. */
export const netstatLinux: Format = {
  name: "netstat-linux",
  tool: "netstat",
  about: "netstat -tan (Linux net-tools, busybox)",
  recognises: (line) => isHeader(line) || isRow(wordsOf(line)),
  open: (sink) => new NetstatLinuxReader(sink),
};

/** In any language: net-tools translates everything behind the queues. */
const HEADER = "Proto Recv-Q Send-Q ";
/** What only the headers of BSD hold. */
const BSD_HEADER = /\(state\)|R-MBUF/;
const UNIX_HEADER = /^Proto RefCnt Flags +Type/;
/** The synthetic layout that no netstat prints: its port columns move everything behind them. */
const PORT_COLUMNS = /^Proto Recv-Q Send-Q +Local Address +Port +Foreign Address +Port/;
const PROTOCOLS: ReadonlyMap<string, "tcp" | "udp" | "other"> = new Map([
  ["tcp", "tcp"],
  ["tcp6", "tcp"],
  ["udp", "udp"],
  ["udp6", "udp"],
  ..."unix raw raw6 icmp icmp6 sctp udplite udpl udplite6 udpl6 ax25 ipx bluetooth x25 netrom rose"
    .split(" ")
    .map((word) => [word, "other"] as const),
]);
/** net-tools cuts an address so that address, colon and port fill this width; busybox cuts the whole. */
const ENDPOINT_WIDTH = 23;
const TIMER = /^\((\d+(?:\.\d+)?)\/(\d+)\/\d+\)$/;

/** net-tools translates these too (po/*.po): German, Portuguese, Czech, Japanese, Estonian. */
const TIMER_NAMES: ReadonlyMap<string, string> = new Map([
  ...["aus", "desligado", "vyp", "オフ", "eikäi"].map((word) => [word, "off"] as const),
  ...["ein", "em", "zapnut", "オン"].map((word) => [word, "on"] as const),
  ["probe", "persist"],
  ["キープアライブ", "keepalive"],
  ["時間待ち", "timewait"],
]);

type Row = { readonly text: string; readonly number: number; readonly words: readonly string[] };

class NetstatLinuxReader implements Reader {
  readonly #sink: Sink;
  #header = { hasInode: false, hasPorts: false };

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const protocol = PROTOCOLS.get(words[0] ?? "");
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (protocol === "other")
      this.#sink.skip(number, `${words[0] ?? ""}: ${SKIP.other}`, text);
    else if (protocol === undefined) this.#noRow({ text, number, words });
    else this.#sink.record(this.#record({ text, number, words }, protocol));
  }

  end(): void {
    // Every line is complete in itself.
  }

  #noRow(row: Row): void {
    const { text, number, words } = row;
    if (words[0] === "Proto") {
      // Once, for a row must not cost more for the length of another line.
      this.#header = { hasInode: text.includes("Inode"), hasPorts: PORT_COLUMNS.test(text) };
      this.#sink.skip(number, SKIP.header, text);
      return;
    }
    if (!text.startsWith("netstat: ") && words.some(looksLikeEndpoint))
      refuse(`unknown protocol ${JSON.stringify(words[0])}`, row);
    this.#sink.skip(number, SKIP.prose, text);
  }

  #record(row: Row, protocol: "tcp" | "udp"): SocketRecord {
    if (this.#header.hasPorts) return this.#portColumns(row, protocol);
    const ends = endsOf(row);
    const { state, width } = stateOf(row.words);
    if (protocol === "tcp" && state === undefined) refuseState(row);
    return {
      protocol,
      family: linuxFamily(row.words[0], ends.local),
      ...ends,
      state: protocol === "tcp" ? state : undefined,
      line: row.number,
      ...this.#columns(restOf(row.text, 5 + width)),
    };
  }

  /** User, Inode, PID/Program name and Timer, in this order, each if asked for. */
  #columns(rest: string): Pick<SocketRecord, "owners" | "uid" | "inode" | "timer"> {
    const { timer, before } = timerOf(rest);
    const [first, second, third] = wordsOf(rest);
    const hasUser = this.#header.hasInode || wholeNumber(second) !== undefined;
    const inode = hasUser ? wholeNumber(second) : undefined;
    return {
      owners: ownersOf(hasUser ? (third === undefined ? "" : restOf(before, 2)) : before),
      ...(hasUser && first !== undefined ? { uid: wholeNumber(first) ?? first } : {}),
      ...(inode === undefined ? {} : { inode }),
      ...(timer === undefined ? {} : { timer }),
    };
  }

  #portColumns(row: Row, protocol: "tcp" | "udp"): SocketRecord {
    const { number, words } = row;
    this.#sink.note(
      "address and port in separate columns, as no netstat prints them: states not read",
    );
    const [, recvQ, sendQ, localAddress = "", localPort = "", remoteAddress = "", remotePort = ""] =
      words;
    const local = colonEndpoint(`${localAddress}:${localPort}`) ?? refuse("no address", row);
    const remote = colonEndpoint(`${remoteAddress}:${remotePort}`) ?? refuse("no address", row);
    return {
      protocol,
      family: familyOf(local),
      local,
      remote,
      state: undefined,
      recvQ: wholeNumber(recvQ),
      sendQ: wholeNumber(sendQ),
      owners: [],
      line: number,
    };
  }
}

/** The state, and how many words it has: in Czech one has two. */
function stateOf(words: readonly string[]): { state: TcpState | undefined; width: number } {
  const [first = "", second = ""] = words.slice(5);
  const one = stateNamed(first);
  if (one !== undefined) return { state: one, width: 1 };
  const two = stateNamed(`${first} ${second}`);
  return { state: two, width: two === undefined ? 0 : 2 };
}

function refuseState(row: Row): never {
  const [, , , , , word] = row.words;
  return refuse(word === undefined ? "no state" : `unknown state ${JSON.stringify(word)}`, row);
}

function endsOf(row: Row): Pick<SocketRecord, "recvQ" | "sendQ" | "local" | "remote"> {
  const [, recvQ, sendQ, local = "", remote = ""] = row.words;
  return {
    local: endpointOf(local) ?? refuse("no local address with a port", row),
    remote: endpointOf(remote) ?? refuse("no foreign address with a port", row),
    recvQ: wholeNumber(recvQ) ?? refuse("no Recv-Q", row),
    sendQ: wholeNumber(sendQ) ?? refuse("no Send-Q", row),
  };
}

/** RHEL 6 and busybox print IPv6 rows as plain `tcp`; elsewhere the protocol says it. */
function linuxFamily(protocol: string | undefined, local: Endpoint): 4 | 6 {
  return protocol?.endsWith("6") === true || familyOf(local) === 6 ? 6 : 4;
}

function endpointOf(word: string): Endpoint | undefined {
  const endpoint = colonEndpoint(word);
  if (endpoint === undefined) return undefined;
  const fills = word.length === ENDPOINT_WIDTH && familyOf(endpoint) !== 4;
  return fills && endpoint.truncated === undefined ? truncated(endpoint) : endpoint;
}

/** The text behind the first `count` words. */
function restOf(text: string, count: number): string {
  let at = skipBlanks(text, 0, text.length);
  for (let word = 0; word < count; word += 1) {
    at = skipBlanks(text, skipWord(text, at, text.length), text.length);
  }
  return text.slice(at);
}

/** `1279/qpidd`, `579/nginx: worker p`; `-` or nothing where the owner may not be seen or there is none. */
function ownersOf(text: string): Owner[] {
  const slash = text.indexOf("/");
  const pid = wholeNumber(text.slice(0, slash).trim());
  return slash < 0 || pid === undefined ? [] : [{ pid, name: text.slice(slash + 1).trimEnd() }];
}

/** `keepalive (7186.32/0/0)` at the end of a row, and what stands before it. */
function timerOf(rest: string): { timer?: Timer; before: string } {
  const text = rest.trimEnd();
  const open = text.lastIndexOf(" (");
  const found = open < 0 ? null : TIMER.exec(text.slice(open + 1));
  if (found === null) return { before: rest };
  const nameAt = text.lastIndexOf(" ", open - 1) + 1;
  const word = text.slice(nameAt, open);
  const name = TIMER_NAMES.get(word) ?? word;
  const before = text.slice(0, nameAt);
  if (name === "off") return { before };
  const remainingMs = Math.round(Number(found[1]) * 1_000);
  return { before, timer: { name, remainingMs, retransmits: Number(found[2]) } };
}

function isHeader(line: string): boolean {
  if (line.startsWith(HEADER)) return !BSD_HEADER.test(line);
  return UNIX_HEADER.test(line);
}

/** A protocol, two numbers, two endpoints with a colon, and for TCP a state. */
function isRow(words: readonly string[]): boolean {
  const [protocol = "", recvQ, sendQ, local = "", remote = "", state = ""] = words;
  const kind = PROTOCOLS.get(protocol);
  if (kind === undefined || wholeNumber(recvQ) === undefined || wholeNumber(sendQ) === undefined)
    return false;
  return (
    hasColonPort(local) &&
    hasColonPort(remote) &&
    (kind !== "tcp" || stateNamed(state) !== undefined)
  );
}

/** Where BSD prints an IPv6 address there is a dot behind the last colon. */
function hasColonPort(word: string): boolean {
  const colon = word.lastIndexOf(":");
  return colon >= 0 && word.lastIndexOf(".") < colon;
}

function refuse(reason: string, { text, number }: Row): never {
  throw new ParseError({ format: "netstat-linux", reason, line: number, text });
}
