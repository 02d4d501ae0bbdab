/**
 * netstat-windows: `netstat` of Windows, with -a -n -o -b, in any language.
 *
 * The state may be translated, or be missing: such a socket is bound but does not listen. With -b the owner follows on
 * lines of its own. Select-String puts `>` before the lines that it found.
 */
import { colonEndpoint, familyOf, looksLikeEndpoint } from "./endpoint.ts";
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { SocketRecord, TcpState } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** netstat of Windows, as an entry of the registry in formats.ts. */
export const netstatWindows: Format = {
  name: "netstat-windows",
  tool: "netstat",
  about: "netstat -ano (Windows, English or translated, -b too)",
  recognises: (line) => HEADER.test(line) || isRow(wordsWithoutMark(line)),
  open: (sink) => new NetstatWindowsReader(sink),
};

/** The headers of net-tools begin in the first column, and every language keeps `Proto`. */
const HEADER = /^ {2}Proto {2}\S/;
const PROTOCOLS: ReadonlyMap<string, "tcp" | "udp"> = new Map([
  ["TCP", "tcp"],
  ["UDP", "udp"],
]);
const NO_PEER: ReadonlySet<string> = new Set(["0.0.0.0:0", "[::]:0", "*:*"]);

type Row = { readonly text: string; readonly number: number };

class NetstatWindowsReader implements Reader {
  readonly #sink: Sink;
  /** The row that the owner lines of -b belong to. */
  #pending: SocketRecord | undefined;
  #hasRows = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsWithoutMark(text);
    const protocol = PROTOCOLS.get(words[0] ?? "");
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (protocol !== undefined) {
      this.#flush();
      this.#pending = this.#record(words, protocol, { text, number });
      this.#hasRows = true;
    } else if (HEADER.test(text)) this.#sink.skip(number, SKIP.header, text);
    else this.#ownerLine(words, { text, number });
  }

  end(): void {
    this.#flush();
  }

  #record(words: readonly string[], protocol: "tcp" | "udp", row: Row): SocketRecord {
    const [, localWord = "", remoteWord = "", ...rest] = words;
    const local = colonEndpoint(localWord) ?? refuse("no local address with a port", row);
    const remote = colonEndpoint(remoteWord) ?? refuse("no foreign address with a port", row);
    const stateWord = wholeNumber(rest[0]) === undefined ? rest[0] : undefined;
    const pid = wholeNumber(stateWord === undefined ? rest[0] : rest[1]);
    return {
      protocol,
      family: familyOf(local) ?? familyOf(remote),
      local,
      remote,
      state: protocol === "tcp" ? this.#state(stateWord, remoteWord, row) : undefined,
      recvQ: undefined,
      sendQ: undefined,
      // Windows gives the sockets in TIME_WAIT to process 0.
      owners: pid === undefined || pid === 0 ? [] : [{ pid }],
      line: row.number,
    };
  }

  #state(word: string | undefined, remote: string, row: Row): TcpState | undefined {
    if (word === undefined) {
      this.#sink.note("TCP rows without a state are bound but do not listen: they are in no count");
      return undefined;
    }
    const state = stateNamed(word);
    if (state !== undefined) return state;
    if (!NO_PEER.has(remote)) return refuse(`unknown state ${JSON.stringify(word)}`, row);
    // Whatever the language calls it: only a listener has no peer.
    this.#sink.note(`${JSON.stringify(word)} is taken for LISTEN: those rows have no peer`);
    return "LISTEN";
  }

  #ownerLine(words: readonly string[], row: Row): void {
    if (words.filter(looksLikeEndpoint).length > 1) refuse("unknown protocol", row);
    if (!this.#hasRows) {
      this.#sink.skip(row.number, SKIP.prose, row.text);
      return;
    }
    const name = /^\s*\[(.+)\]\s*$/.exec(row.text)?.[1];
    const [owner] = this.#pending?.owners ?? [];
    if (this.#pending !== undefined && name !== undefined)
      this.#pending = {
        ...this.#pending,
        ...(owner === undefined ? {} : { owners: [{ ...owner, name }] }),
        details: { process: name },
      };
    this.#sink.skip(row.number, "owner of the row above", row.text);
  }

  #flush(): void {
    if (this.#pending !== undefined) this.#sink.record(this.#pending);
    this.#pending = undefined;
  }
}

function wordsWithoutMark(line: string): string[] {
  const words = wordsOf(line);
  return words[0] === ">" ? words.slice(1) : words;
}

function isRow(words: readonly string[]): boolean {
  const [protocol = "", local = "", remote = ""] = words;
  return PROTOCOLS.has(protocol) && local.includes(":") && remote.includes(":");
}

function refuse(reason: string, { text, number }: Row): never {
  throw new ParseError({ format: "netstat-windows", reason, line: number, text });
}
