/**
 * tally: text that somebody has counted already, the way everybody does it:
 *
 *     ss -tan | awk '{print $1}' | sort | uniq -c
 *     netstat -tan | awk '/^tcp/ {n[$6]++} END {for (s in n) print s, n[s]}'
 *
 * It has no sockets, only counts. The words of header and banner, which such a pipe counts too, are left out.
 */
import { wholeNumber, wordsOf } from "./lines.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { TcpState } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** Counts per state, as an entry of the registry in formats.ts. */
export const tally: Format = {
  name: "tally",
  tool: "uniq",
  hasSections: true,
  about: "counts per state (sort | uniq -c)",
  recognises: (line) => countedState(wordsOf(line)) !== undefined,
  open: (sink) => new TallyReader(sink),
};

/** Words that stand where the state does, in the headers and banners of ss and every netstat, and of unix sockets. */
const NO_STATES: ReadonlySet<string> = new Set(
  (
    "State (state) Status Foreign Local Address Address:Port Recv-Q Send-Q Netid Proto established) servers) servers " +
    "only (only (servers (w/o (including connections sockets DGRAM STREAM SEQPACKET CONNECTED CONNECTING I-Node Type"
  ).split(" "),
);

class TallyReader implements Reader {
  readonly #sink: Sink;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    const words = wordsOf(text);
    const counted = countedState(words);
    if (counted !== undefined) {
      if (words.includes("UNCONN")) this.#sink.note("UNCONN is counted as CLOSE, but may be UDP");
      this.#sink.tally(counted.state, counted.count, number);
    } else if (words.length === 0) this.#sink.skip(number, SKIP.blank, text);
    else if (isNoState(words)) this.#sink.skip(number, SKIP.header, text);
    else throw new ParseError({ format: "tally", reason: "no known state", line: number, text });
  }

  end(): void {
    // Every line is complete in itself.
  }
}

/** `23 TIME-WAIT` or `TIME-WAIT 23`. */
function countedState(words: readonly string[]): { state: TcpState; count: number } | undefined {
  if (words.length !== 2) return undefined;
  const [first = "", second = ""] = words;
  const count = wholeNumber(first) ?? wholeNumber(second);
  const state = stateNamed(wholeNumber(first) === undefined ? first : second);
  return count === undefined || state === undefined ? undefined : { state, count };
}

/** A count alone, which is an empty field, or a count of a word that is no state. */
function isNoState(words: readonly string[]): boolean {
  const others = words.filter((word) => wholeNumber(word) === undefined);
  return (
    words.length <= 2 && others.length < words.length && others.every((it) => NO_STATES.has(it))
  );
}
