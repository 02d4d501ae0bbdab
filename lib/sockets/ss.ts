/**
 * ss: the tables of iproute2's `ss`, every layout since 2.6.32.
 *
 * The header is no guide: it is glued (`NetidState`, `PortProcess`), absent (-H), or lacks the State column although
 * the rows have one. So every row is read for what it is: an optional Netid, an optional state, two queues, two
 * endpoints, and then whatever -p -o -e -m -i add, on the same line or on indented lines below it.
 */
import { colonEndpoint, familyOf } from "./endpoint.ts";
import { isDigit, skipBlanks, skipWord, wholeNumber, wordsOf } from "./lines.ts";
import { looksLikeEndpoint } from "./endpoint.ts";
import { ParseError } from "./parse-error.ts";
import { collect, type ParsedText } from "./reading.ts";
import {
  SKIP,
  type Bounds,
  type Format,
  type ParseOptions,
  type Reader,
  type Sink,
} from "./reader.ts";
import type { Endpoint, SocketRecord, TcpState } from "./record.ts";
import { NAME_END, RowDetails } from "./ss-details.ts";
import { PlainRow } from "./ss-plain.ts";
import { Wildcards } from "./ss-wildcard.ts";
import { stateNamed } from "./state-names.ts";

/** ss of iproute2, as an entry of the registry in formats.ts. */
export const ss: Format = {
  name: "ss",
  tool: "ss",
  about: "ss -tan and every other set of options (iproute2)",
  recognises: (line) => isHeader(line) || isRow(line),
  open: (sink, options) => new SsReader(sink, options),
};

/** Output of `ss`, whatever its options. Text without rows is an empty table. Throws ParseError. */
export function parseSs(text: string): ParsedText {
  return collect(text, { formats: [ss], name: ss.name });
}

/** The words that ss prints as Netid (misc/ss.c, proto_name and unix_netid_name), TCP and UDP aside. */
const OTHER_NETIDS: ReadonlySet<string> = new Set(
  (
    "nl p_raw p_dgr u_str u_dgr u_seq v_str v_dgr v_seq icmp icmp6 raw raw6 sctp dccp mptcp xdp tipc " +
    "ti_dg ti_rd ti_sq ti_st vsock unix ???"
  ).split(" "),
);

/** They are kept until the next row: a socket has a few hundred characters of them. */
const MAX_DETAIL_CHARACTERS = 1024 * 1024;

/** What ss puts behind the peer address. */
const DETAILS = /^(?:users|timer|uid|ino|sk|skmem|cgroup|fwmark|v6only):/;
const LEAD =
  /^(tcp|udp)?(?:(ESTAB|SYN-SENT|SYN-RECV|FIN-WAIT-1|FIN-WAIT-2|TIME-WAIT|UNCONN|CLOSE-WAIT|LAST-ACK|LISTEN|CLOSING|CLOSED|UNDEF)(\d*))?$/;

/** What a row begins with, and where its queues are. */
type Lead = {
  readonly protocol: "tcp" | "udp" | "other";
  readonly netid: string | undefined;
  readonly state: TcpState | undefined;
  readonly recvQ: number | undefined;
  readonly at: number;
};

class SsReader implements Reader {
  readonly #sink: Sink;
  /** The row that details on the next lines belong to, and those seen so far. */
  #pending: SocketRecord | undefined;
  readonly #details = new RowDetails();
  /** How long those are, all lines together. */
  #detailCharacters = 0;
  /** Only below a row there can be details. */
  #hasRows = false;
  readonly #plain = new PlainRow();
  readonly #wildcards: Wildcards;

  constructor(sink: Sink, { isLive = false }: ParseOptions) {
    this.#sink = sink;
    this.#wildcards = new Wildcards((record) => sink.record(record), isLive ? 6 : undefined);
  }

  line(text: string, number: number): void {
    const start = skipBlanks(text, 0, text.length);
    if (start === text.length) {
      this.#sink.skip(number, SKIP.blank, text);
      return;
    }
    if (start > 0 && !isRow(text) && !isHeader(text)) {
      this.#continuation(text, number);
      return;
    }
    const lead = leadOf(text, start);
    if (lead === undefined && NAME_END.test(text)) {
      this.#continuation(text, number);
      return;
    }
    this.#flush();
    if (lead === undefined) this.#noRow(text, number);
    else if (lead.protocol === "other")
      this.#skipRow(`${lead.netid ?? ""}: ${SKIP.other}`, text, number);
    else this.#row(lead, lead.protocol, { text, number });
  }

  end(): void {
    this.#flush();
    this.#wildcards.flush();
  }

  piece(text: string): void {
    this.#plain.hasTabs = text.includes("\t");
  }

  take(text: string, bounds: Bounds): boolean {
    const record = this.#plain.record(text, bounds);
    // UNCONN wants a second look, see #noteDoubts.
    if (record === undefined || record.state === "CLOSE") return false;
    this.#flush();
    this.#wildcards.see(record.local.address);
    this.#wildcards.see(record.remote.address);
    this.#pending = record;
    this.#hasRows = true;
    return true;
  }

  quick(text: string, start: number, end: number): TcpState | undefined {
    if (!this.#plain.isRow(text, start, end) || this.#plain.state === "CLOSE") return undefined;
    this.#flush();
    this.#hasRows = true;
    return this.#plain.state;
  }

  #row(
    lead: Lead,
    protocol: "tcp" | "udp",
    { text, number }: { text: string; number: number },
  ): void {
    const fail = (reason: string): never => refuse(reason, text, number);
    const end = text.length;
    let at = skipBlanks(text, lead.at, end);
    let wordEnd = at;
    const next = (): string => {
      wordEnd = skipWord(text, at, end);
      const word = text.slice(at, wordEnd);
      at = skipBlanks(text, wordEnd, end);
      return word;
    };
    const nextEndpoint = (): Endpoint | undefined => {
      const word = next();
      this.#wildcards.see(word);
      return colonEndpoint(word);
    };
    const recvQ = lead.recvQ ?? wholeNumber(next()) ?? fail("no Recv-Q behind the state");
    const sendQ = wholeNumber(next()) ?? fail("no Send-Q behind Recv-Q");
    const local = nextEndpoint() ?? fail("no local address with a port");
    const remote = nextEndpoint() ?? fail("no peer address with a port");
    // netstat prints `tcp 0 0 LOCAL PEER STATE`: two captures in one text, and this half would count for nothing.
    if (lead.state === undefined && stateNamed(text.slice(at, skipWord(text, at, end))))
      refuse("a state behind the addresses, where netstat has it", text, number);
    if (protocol === "tcp") this.#noteDoubts(lead);
    this.#pending = {
      protocol,
      family: familyOf(local) ?? familyOf(remote),
      local,
      remote,
      state: protocol === "tcp" ? lead.state : undefined,
      recvQ,
      sendQ,
      owners: NO_OWNERS,
      line: number,
    };
    this.#hasRows = true;
    if (at < end) this.#details.add(text.slice(at));
  }

  #continuation(text: string, number: number): void {
    if (!this.#hasRows) {
      this.#noRow(text, number);
      return;
    }
    if (this.#pending !== undefined) {
      this.#detailCharacters += text.length;
      if (this.#detailCharacters > MAX_DETAIL_CHARACTERS)
        refuse("more than 1 MiB of details for one socket", text, number);
      this.#details.add(text);
    }
    this.#sink.skip(number, SKIP.details, text);
  }

  #noRow(text: string, number: number): void {
    if (isHeader(text)) {
      this.#wildcards.flush();
      this.#sink.skip(number, SKIP.header, text);
      return;
    }
    const words = wordsOf(text);
    const isProse =
      !words.some(looksLikeEndpoint) || /^(ss|RTNETLINK|Failed|Cannot|Error)\b/.test(text);
    if (!isProse) refuse(`unknown state or Netid ${JSON.stringify(words[0])}`, text, number);
    this.#sink.skip(number, SKIP.prose, text);
  }

  #skipRow(reason: string, text: string, number: number): void {
    this.#hasRows = true;
    this.#sink.skip(number, reason, text);
  }

  /** Said once, by the sink. */
  #noteDoubts({ state, netid }: Lead): void {
    if (state === undefined)
      this.#sink.note("rows without a state, as `ss state ...` prints them: these are in no count");
    else if (state === "CLOSE" && netid === undefined)
      this.#sink.note("no Netid column: read as TCP, but UNCONN rows are what `ss -u` prints");
  }

  #flush(): void {
    if (this.#pending === undefined) return;
    const details = this.#details.take();
    this.#wildcards.push(details === undefined ? this.#pending : { ...this.#pending, ...details });
    this.#pending = undefined;
    this.#detailCharacters = 0;
  }
}

const NO_OWNERS: SocketRecord["owners"] = [];

function leadOf(text: string, start: number): Lead | undefined {
  const end = skipWord(text, start, text.length);
  const word = text.slice(start, end);
  const state = stateNamed(word);
  if (state !== undefined)
    return { protocol: "tcp", netid: undefined, state, recvQ: undefined, at: end };
  return netidLead(text, word, end) ?? statelessLead(text, start) ?? gluedLead(word, end);
}

/** `tcp   ESTAB 0 0 ...`, or without the state `tcp 0 128 *:22 *:*`. */
function netidLead(text: string, netid: string, at: number): Lead | undefined {
  const protocol =
    netid === "tcp" || netid === "udp" ? netid : isOther(netid) ? "other" : undefined;
  if (protocol === undefined) return undefined;
  const start = skipBlanks(text, at, text.length);
  const end = skipWord(text, start, text.length);
  if (protocol === "other" || isDigit(text.charCodeAt(start)))
    return { protocol, netid, state: undefined, recvQ: undefined, at: start };
  const lead = gluedLead(text.slice(start, end), end);
  return lead?.netid === undefined && lead !== undefined ? { ...lead, protocol, netid } : undefined;
}

/** ss prints a protocol that it has no name for as `ipproto-47`. */
function isOther(netid: string): boolean {
  return OTHER_NETIDS.has(netid) || /^ipproto-\d+$/.test(netid);
}

/** `ss state established` prints no State column: `0 0 127.0.0.1:80 127.0.0.1:51650`. */
function statelessLead(text: string, start: number): Lead | undefined {
  const words = wordsOf(text);
  const isRow =
    wholeNumber(words[0]) !== undefined &&
    wholeNumber(words[1]) !== undefined &&
    looksLikeEndpoint(words[2] ?? "") &&
    looksLikeEndpoint(words[3] ?? "");
  return isRow
    ? { protocol: "tcp", netid: undefined, state: undefined, recvQ: undefined, at: start }
    : undefined;
}

/** `tcpESTAB`, and a state that its column glued to Recv-Q: `SYN-SENT0`. */
function gluedLead(word: string, at: number): Lead | undefined {
  const [, netid, state, recvQ] = LEAD.exec(word) ?? [];
  if (state === undefined) return undefined;
  return {
    protocol: netid === "udp" ? "udp" : "tcp",
    netid,
    state: stateNamed(state),
    recvQ: wholeNumber(recvQ),
    at,
  };
}

function isHeader(line: string): boolean {
  return line.includes("Recv-Q") && line.includes("Address:Port");
}

function isRow(line: string): boolean {
  const start = skipBlanks(line, 0, line.length);
  const lead = leadOf(line, start);
  if (lead === undefined) return false;
  if (lead.protocol === "other") return stateNamed(wordsOf(line)[1] ?? "") !== undefined;
  return isRowBehind(lead, wordsOf(line.slice(lead.at)));
}

function isRowBehind(lead: Lead, words: readonly string[]): boolean {
  const queues = lead.recvQ === undefined ? 2 : 1;
  const [local = "", peer = "", next = ""] = words.slice(queues);
  if (!words.slice(0, queues).every((word) => wholeNumber(word) !== undefined)) return false;
  if (!local.includes(":") || !peer.includes(":")) return false;
  // Without a state it may as well be netstat, which has one behind the addresses: only details of ss speak for ss.
  return lead.state !== undefined || DETAILS.test(next) || (next === "" && lead.netid !== "udp");
}

function refuse(reason: string, text: string, line: number): never {
  throw new ParseError({ format: "ss", reason, line, text });
}
