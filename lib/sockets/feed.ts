/**
 * feed: text in pieces of any size, a reader behind it.
 *
 * Until a line is recognised the lines are held back, then the reader gets them all. After that nothing is kept but the
 * piece of a line that has not ended yet.
 */
import { foreignFormat } from "./foreign.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type ParseOptions, type Reader } from "./reader.ts";
import type { CountingSink } from "./sinks.ts";

/** No table begins later than this. */
const HEAD_LINES = 1_000;
const MAX_LINE_CHARACTERS = 1024 * 1024;
const CARRIAGE_RETURN = 13;
/** What gzip begins with, read as Latin-1. */
const GZIP = "\u001F\u008B";

/** Programs that print over their own line, and old files: there a carriage return ends a line. */
const RETURN = "\r";

/** What a feed reads, and how. */
export type FeedOptions = ParseOptions & {
  /** The formats that the text may have. */
  readonly formats: readonly Format[];
  /** All that there are, for lines that belong to another. Default none. */
  readonly others?: readonly Format[];
  /** What was asked for, for messages: `auto`, `netstat`. */
  readonly asked: string;
  readonly sink: CountingSink;
  /** Use the short cut for plain rows: right for counting, where no record is wanted. */
  readonly mode: "count" | "collect";
};

/** Takes text in pieces. `finish` must be called once, after the last. */
export class Feed {
  readonly #options: FeedOptions;
  readonly #sink: CountingSink;
  readonly #isQuick: boolean;
  #format: Format | undefined;
  #reader: Reader | undefined;
  #head: string[] = [];
  #headCharacters = 0;
  /** The line that has not ended yet, as it came: joined once, or a line in many small pieces would be copied for each. */
  #rest: string[] = [];
  #restCharacters = 0;
  #piece = "";
  #hasReturns = false;
  #number = 0;
  readonly #bounds = { start: 0, end: 0, line: 0 };

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#sink = options.sink;
    this.#isQuick = options.mode === "count" && options.sink.where === undefined;
  }

  /** Lines read so far. */
  get lines(): number {
    return this.#number;
  }

  push(piece: string): void {
    if (piece.includes("\n")) this.#lines(this.#takeRest() + piece);
    else this.#keep(piece);
  }

  /** Reads all lines that end in `text`. */
  #lines(text: string): void {
    this.#announce(text);
    let start = 0;
    for (let newline = text.indexOf("\n"); newline !== -1; newline = text.indexOf("\n", start)) {
      this.#line(text, start, newline);
      start = newline + 1;
    }
    this.#keep(text.slice(start));
  }

  #announce(text: string): void {
    this.#piece = text;
    this.#hasReturns = text.includes(RETURN);
    this.#reader?.piece?.(text);
  }

  #keep(piece: string): void {
    if (piece === "") return;
    this.#rest.push(piece);
    this.#restCharacters += piece.length;
    if (this.#restCharacters > MAX_LINE_CHARACTERS) this.#refuseLong(this.#takeRest());
  }

  #takeRest(): string {
    const rest = this.#rest.length === 1 ? this.#rest[0] : this.#rest.join("");
    this.#rest = [];
    this.#restCharacters = 0;
    return rest ?? "";
  }

  /** Here and not only for what is kept: what is refused must not depend on how the text was cut. */
  #refuseLong(text: string): never {
    if (this.#reader === undefined) this.#refuseAll(text);
    return this.#refuse("a line of more than 1 MiB", this.#number + 1, text);
  }

  /** Reads what is left and says which format it was: undefined when there was no line but blank ones. */
  finish(): Format | undefined {
    const rest = this.#takeRest();
    if (rest !== "") {
      this.#announce(rest);
      this.#line(rest, 0, rest.length);
    }
    if (this.#reader === undefined && this.#head.some((line) => line.trim() !== ""))
      this.#refuseAll();
    if (this.#reader === undefined) this.#open(undefined);
    this.#reader?.end();
    return this.#format;
  }

  #line(text: string, start: number, newline: number): void {
    if (newline - start > MAX_LINE_CHARACTERS) this.#refuseLong(text.slice(start, newline));
    let end = newline;
    while (end > start && text.charCodeAt(end - 1) === CARRIAGE_RETURN) end -= 1;
    if (this.#hasReturns && text.slice(start, end).includes(RETURN))
      for (const line of text.slice(start, end).split(RETURN))
        this.#plainLine(line, 0, line.length);
    else this.#plainLine(text, start, end);
  }

  #plainLine(text: string, start: number, end: number): void {
    this.#number += 1;
    if (this.#reader === undefined) {
      this.#headLine(text.slice(start, end));
      return;
    }
    if (!this.#isShort(text, start, end)) this.#reader.line(text.slice(start, end), this.#number);
  }

  /** The short cuts for plain rows. */
  #isShort(text: string, start: number, end: number): boolean {
    if (!this.#isQuick) {
      this.#bounds.start = start;
      this.#bounds.end = end;
      this.#bounds.line = this.#number;
      return this.#reader?.take?.(text, this.#bounds) ?? false;
    }
    const state = this.#reader?.quick?.(text, start, end);
    if (state === undefined) return false;
    this.#sink.rows += 1;
    this.#sink.counts[state] += 1;
    return true;
  }

  #headLine(line: string): void {
    this.#head.push(line);
    const format = this.#options.formats.find((candidate) => candidate.recognises(line));
    if (format !== undefined) {
      this.#open(format);
      return;
    }
    this.#headCharacters += line.length;
    if (this.#head.length >= HEAD_LINES || this.#headCharacters > MAX_LINE_CHARACTERS)
      this.#refuseAll();
  }

  #open(format: Format | undefined): void {
    const head = this.#head;
    this.#head = [];
    this.#format = format;
    if (format !== undefined) this.#sink.inspect = this.#inspector(format);
    this.#sink.unique = format?.hasSections === true ? SKIP.section : SKIP.header;
    this.#reader = format?.open(this.#sink, this.#options);
    this.#reader?.piece?.(this.#piece);
    head.forEach((line, index) => {
      if (this.#reader === undefined) this.#sink.skip(index + 1, "blank line", line);
      else this.#reader.line(line, index + 1);
    });
  }

  #inspector(own: Format): CountingSink["inspect"] {
    const { others } = this.#options;
    if (others === undefined) return undefined;
    return (line, reason, text) => {
      const other = foreignFormat(text, reason, { own, others });
      if (other === undefined) return;
      this.#refuse(`a line of ${other.name} here: two captures in one text?`, line, text);
    };
  }

  /** @param rest - the line that was not read any more. */
  #refuseAll(rest = ""): never {
    const at = this.#head.findIndex((line) => line.trim() !== "");
    const text = this.#head[at] ?? rest;
    if (text.startsWith(GZIP))
      this.#refuse("compressed data: unpack it first, for example with zcat", 0, "");
    const isBinary = /[\0-\x08\x0e-\x1a\uFFFD]/.test(text);
    const reason = isBinary ? "binary data, no table of sockets" : "no line of a known format";
    return this.#refuse(reason, Math.max(at, 0) + 1, isBinary ? text.slice(0, 20) : text);
  }

  #refuse(reason: string, line: number, text: string): never {
    const format = this.#format?.name ?? this.#options.asked;
    const tried =
      this.#format === undefined ? this.#options.formats.map((candidate) => candidate.name) : [];
    throw new ParseError({ format, reason, line, text, tried });
  }
}
