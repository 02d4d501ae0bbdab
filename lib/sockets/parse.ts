/**
 * parse: text in, records or counts out.
 *
 * Nothing is guessed and nothing is lost: a line is a record, or skipped with a reason, or the text is refused with a
 * ParseError that quotes it.
 */
import { FORMATS, formatsNamed } from "./formats.ts";
import { ParseError } from "./parse-error.ts";
import {
  collect,
  openCollect,
  openCount,
  type Asked,
  type ParsedText,
  type Reading,
  type ReadOptions,
  type Tally,
} from "./reading.ts";

/**
 * Reads a table of sockets.
 *
 * @param format - `auto`, a tool (`ss`, `netstat`, `lsof`, `proc`) or one format by name. A named format is a promise of
 *   the caller: then a text of nothing but blank lines is an empty table. With `auto` it is refused.
 * @throws ParseError for text of no known format (naming those tried), and for a row that cannot be read (quoting it).
 */
export function parseSockets(text: string, format = "auto", options: ReadOptions = {}): ParsedText {
  return collect(text, asked(format), options);
}

/** The same, counts only: much faster for plain tables, and no memory per row. Same errors. */
export function countSockets(text: string, format = "auto", options: ReadOptions = {}): Tally {
  const count = openCount(asked(format), options);
  count.push(text);
  return count.finish();
}

/** Counts text that arrives in pieces, of any total length, in constant memory. Same errors. */
export async function countStream(
  pieces: AsyncIterable<string>,
  format = "auto",
  options: ReadOptions = {},
): Promise<Tally> {
  return readAll(pieces, openCount(asked(format), options));
}

/** Reads text that arrives in pieces: the text may be of any length, its records are kept. Same errors. */
export async function parseStream(
  pieces: AsyncIterable<string>,
  format = "auto",
  options: ReadOptions = {},
): Promise<ParsedText> {
  return readAll(pieces, openCollect(asked(format), options));
}

async function readAll<Result>(
  pieces: AsyncIterable<string>,
  { push, finish }: Reading<Result>,
): Promise<Result> {
  for await (const piece of pieces) push(piece);
  return finish();
}

/** Output of any `netstat`. Text without rows is an empty table. Throws ParseError. */
export function parseNetstat(text: string): ParsedText {
  return parseSockets(text, "netstat");
}

/** Output of `lsof -i`, table or `-F`. Text without rows is an empty table. Throws ParseError. */
export function parseLsof(text: string): ParsedText {
  return parseSockets(text, "lsof");
}

function asked(name: string): Asked {
  const formats = formatsNamed(name);
  if (formats !== undefined) return { formats, name, others: FORMATS };
  const tried = FORMATS.map((format) => format.name);
  throw new ParseError({ format: name, reason: "no such format", line: 0, text: "", tried });
}
