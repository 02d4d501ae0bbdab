/**
 * netstat-solaris: Solaris 10 and 11.
 *
 * No protocol on the row: sections such as `TCP: IPv4` say it. A TCP row is two endpoints with the port behind the last
 * dot, with -u user, pid and command, four numbers (send window and queue, receive window and queue), the state, and for
 * IPv6 an interface.
 */
import { dotEndpoint, familyOf } from "./endpoint.ts";
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { SocketRecord } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** netstat of Solaris, as an entry of the registry in formats.ts. */
export const netstatSolaris: Format = {
  name: "netstat-solaris",
  tool: "netstat",
  hasSections: true,
  about: "netstat -an (Solaris 10 and 11)",
  recognises: (line) => SECTION.test(line.trim()) || HEADER.test(line) || isRow(wordsOf(line)),
  open: (sink) => new NetstatSolarisReader(sink),
};

const SECTION = /^(TCP|UDP|SCTP)(?:: IPv([46])|:)\s*$/;
const HEADER = /^\s*Local Address +Remote Address +(?:User|Swind)\b/;
const ANY_HEADER = /^\s*(?:Local Address\b|-{3,}|Type\b|Address\b)/;
const NUMBERS = 4;

class NetstatSolarisReader implements Reader {
  readonly #sink: Sink;
  /** Where the rows are of: TCP unless a section says otherwise, as in text that grep has passed. */
  #section = "TCP";
  #reason = "";
  #family: 4 | 6 | undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const [isSection, section = "", family] = SECTION.exec(text.trim()) ?? [];
    if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (isSection !== undefined) {
      this.#open(section);
      this.#family = family === "4" ? 4 : family === "6" ? 6 : undefined;
      this.#sink.skip(number, SKIP.section, text);
    } else if (text.startsWith("Active ")) {
      this.#open(text.trim());
      this.#sink.skip(number, SKIP.section, text);
    } else if (ANY_HEADER.test(text)) this.#sink.skip(number, SKIP.header, text);
    else if (this.#section === "TCP") this.#sink.record(this.#record(words, { text, number }));
    else this.#sink.skip(number, this.#reason, text);
  }

  #open(section: string): void {
    this.#section = section;
    this.#reason = `section: ${section}`;
  }

  end(): void {
    // Every line is complete in itself.
  }

  #record(words: readonly string[], row: { text: string; number: number }): SocketRecord {
    const refuse = (reason: string): never => {
      const { text, number } = row;
      throw new ParseError({ format: "netstat-solaris", reason, line: number, text });
    };
    const local = dotEndpoint(words[0] ?? "") ?? refuse("no local address with a port");
    const remote = dotEndpoint(words[1] ?? "") ?? refuse("no remote address with a port");
    const at = numbersAt(words);
    if (at < 0) return refuse("no known state behind four numbers");
    return {
      protocol: "tcp",
      family: this.#family ?? familyOf(local) ?? familyOf(remote),
      local,
      remote,
      state: stateNamed(words[at + NUMBERS] ?? ""),
      recvQ: wholeNumber(words[at + 3]),
      sendQ: wholeNumber(words[at + 1]),
      line: row.number,
      ...ownerOf(words.slice(2, at)),
    };
  }
}

/** User, pid and command, as -u prints them; nothing without -u. */
function ownerOf([uid, pidWord, ...command]: readonly string[]): Pick<
  SocketRecord,
  "owners" | "uid"
> {
  const pid = wholeNumber(pidWord);
  return {
    owners: pid === undefined ? [] : [{ pid, name: command.join(" ") }],
    ...(uid === undefined ? {} : { uid }),
  };
}

/** Where four numbers stand that a state follows; -1 if nowhere. A command before them may be a number too. */
function numbersAt(words: readonly string[]): number {
  for (let at = 2; at + NUMBERS < words.length; at += 1)
    if (
      words.slice(at, at + NUMBERS).every((word) => wholeNumber(word) !== undefined) &&
      stateNamed(words[at + NUMBERS] ?? "") !== undefined
    )
      return at;
  return -1;
}

function isRow(words: readonly string[]): boolean {
  const [local = "", remote = ""] = words;
  return local.includes(".") && remote.includes(".") && numbersAt(words) === 2;
}
