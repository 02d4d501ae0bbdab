/**
 * sockstat: FreeBSD's list of sockets by process. No states, unless -s was asked for.
 *
 * The columns run into each other when a name is long (`python2.781106`), so a row is read from its protocol outwards.
 */
import { colonEndpoint, familyOf, looksLikeEndpoint } from "./endpoint.ts";
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { Owner, SocketRecord } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** sockstat of FreeBSD, as an entry of the registry in formats.ts. */
export const sockstat: Format = {
  name: "sockstat",
  tool: "sockstat",
  about: "sockstat (FreeBSD)",
  recognises: (line) => HEADER.test(line) || isRow(wordsOf(line)),
  open: (sink) => new SockstatReader(sink),
};

const HEADER = /^\s*USER +COMMAND +PID +FD +PROTO +LOCAL ADDRESS/;
const PROTOCOL = /^(tcp|udp)(4|6|46)?$/;
const FAMILIES: ReadonlyMap<string | undefined, 4 | 6> = new Map([
  ["4", 4],
  ["6", 6],
  ["46", 6],
]);
const OTHER = /^(?:stream|dgram|seqpac|seqpack|sctp|divert|icmp|raw|udplite)(?:4|6|46)?$/;
/** FreeBSD's largest process id is 99999: of digits that are glued to a name no more than 5 belong to it. */
const GLUED_PID = /^(.+?)(\d{1,5})$/;

type Row = { readonly text: string; readonly number: number; readonly words: readonly string[] };

class SockstatReader implements Reader {
  readonly #sink: Sink;
  /** Where the state is, from the end of a row: -1 is the last word, 0 nowhere. With -S the name of the stack is behind it. */
  #stateAt = 0;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const at = protocolAt(words);
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (HEADER.test(text)) {
      this.#stateAt = words.includes("STATE") ? words.indexOf("STATE") - words.length : 0;
      this.#sink.skip(number, SKIP.header, text);
    } else if (at >= 0) this.#sink.record(this.#record({ text, number, words }, at));
    else if (words.some((word) => OTHER.test(word))) this.#sink.skip(number, SKIP.other, text);
    else if (words.some(looksLikeEndpoint)) refuse("no protocol", { text, number, words });
    else this.#sink.skip(number, SKIP.prose, text);
  }

  end(): void {
    // Every line is complete in itself.
  }

  #record(row: Row, at: number): SocketRecord {
    const [, protocol, suffix] = PROTOCOL.exec(row.words[at] ?? "") ?? [];
    const [localWord = "", remoteWord = ""] = row.words.slice(at + 1);
    const local = colonEndpoint(localWord) ?? refuse("no local address with a port", row);
    const remote = colonEndpoint(remoteWord) ?? refuse("no foreign address with a port", row);
    return {
      protocol: protocol === "tcp" ? "tcp" : "udp",
      family: FAMILIES.get(suffix) ?? familyOf(local),
      local,
      remote,
      state: protocol === "tcp" ? this.#state(row) : undefined,
      recvQ: undefined,
      sendQ: undefined,
      owners: ownersOf(row.words.slice(0, at)),
      line: row.number,
      ...(row.words[0] === "?" ? {} : { uid: row.words[0] ?? "" }),
    };
  }

  #state(row: Row): SocketRecord["state"] {
    if (this.#stateAt === 0) {
      this.#sink.note("sockstat without -s has no states: its TCP rows are in no count");
      return undefined;
    }
    const word = row.words.at(this.#stateAt) ?? "";
    return stateNamed(word) ?? refuse(`unknown state ${JSON.stringify(word)}`, row);
  }
}

/** Where the protocol stands: behind a user and a program, which may be called tcp themselves. */
function protocolAt(words: readonly string[]): number {
  return words.findIndex((word, index) => index >= 2 && PROTOCOL.test(word));
}

/** `root python2.7 1294 41`, or `salt-master python2.781106 35`; `? ? ? ?` where nobody holds the socket. */
function ownersOf(words: readonly string[]): Owner[] {
  const fd = wholeNumber(words.at(-1));
  const last = words.at(-2) ?? "";
  const [, name, digits] = wholeNumber(last) === undefined ? (GLUED_PID.exec(last) ?? []) : [];
  const pid = wholeNumber(digits ?? last);
  if (pid === undefined) return [];
  const command = name ?? words.slice(1, -2).join(" ");
  return [{ pid, name: command, ...(fd === undefined ? {} : { fd }) }];
}

/** A row without its header (-q): a descriptor, a protocol, two endpoints. No netstat has anything before the protocol. */
function isRow(words: readonly string[]): boolean {
  const at = protocolAt(words);
  const [local = "", remote = ""] = words.slice(at + 1);
  const hasOwner = at >= 3 && (words[0] === "?" || wholeNumber(words[at - 1]) !== undefined);
  return hasOwner && local.includes(":") && remote.includes(":");
}

function refuse(reason: string, { text, number }: Row): never {
  throw new ParseError({ format: "sockstat", reason, line: number, text });
}
