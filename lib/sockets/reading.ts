/** reading: one text through one feed, and what came of it. */
import { Feed } from "./feed.ts";
import { ParseError } from "./parse-error.ts";
import type { Format, ParseOptions } from "./reader.ts";
import type { SocketRecord, StateCounts } from "./record.ts";
import { CollectingSink, CountingSink, type Predicate, type Skipped } from "./sinks.ts";

/** How many sockets a text shows, and what became of every line. */
export type Tally = {
  /** The format that was recognised; undefined for a text of blank lines only. */
  readonly format: string | undefined;
  readonly counts: StateCounts;
  /** TCP rows whose text shows no state: in no count. */
  readonly unstated: number;
  /** UDP rows. */
  readonly udp: number;
  /** Lines that became records (or were counted before, by `uniq -c`). `rows` and all skipped lines make up `lines`. */
  readonly rows: number;
  readonly lines: number;
  readonly skippedByReason: ReadonlyMap<string, number>;
  /** What the reader of the result should know about the text. */
  readonly notes: readonly string[];
};

/** A text, read completely. */
export type ParsedText = Tally & {
  readonly records: readonly SocketRecord[];
  readonly skipped: readonly Skipped[];
};

/** Options of every reading function. */
export type ReadOptions = ParseOptions & {
  /** Only records for which this is true count. */
  readonly where?: Predicate;
};

/** Which formats a text may have, and under what name its reader asked for them. */
export type Asked = {
  readonly formats: readonly Format[];
  readonly name: string;
  /** All that there are: a line of another one is refused instead of skipped. Default none. */
  readonly others?: readonly Format[];
};

/** Takes text in pieces, and says at the end what came of it. */
export type Reading<Result> = {
  readonly push: (piece: string) => void;
  readonly finish: () => Result;
};

/** Reads a whole text, keeping every record and every skipped line. */
export function collect(text: string, asked: Asked, options: ReadOptions = {}): ParsedText {
  const reading = openCollect(asked, options);
  reading.push(text);
  return reading.finish();
}

/** The same for text in pieces: of the text itself no more than a line is kept. */
export function openCollect(asked: Asked, options: ReadOptions = {}): Reading<ParsedText> {
  const sink = new CollectingSink(options.where);
  const feed = new Feed({
    ...options,
    ...asked,
    asked: asked.name,
    sink,
    mode: "collect",
  });
  return {
    push: (piece) => feed.push(piece),
    finish: () => ({
      ...tallyOf(feed, sink, asked),
      records: sink.records,
      skipped: sink.skipped,
    }),
  };
}

/** Opens a count of text in pieces. */
export function openCount(asked: Asked, options: ReadOptions = {}): Reading<Tally> {
  const sink = new CountingSink(options.where);
  const feed = new Feed({
    ...options,
    ...asked,
    asked: asked.name,
    sink,
    mode: "count",
  });
  return { push: (piece) => feed.push(piece), finish: () => tallyOf(feed, sink, asked) };
}

function tallyOf(feed: Feed, sink: CountingSink, asked: Asked): Tally {
  const format = feed.finish();
  // A format that was asked for by name is a promise: no rows are an empty table. Otherwise it is no table at all.
  if (format === undefined && asked.name === "auto") {
    const reason = feed.lines === 0 ? "empty text" : "only blank lines";
    throw new ParseError({ format: "auto", reason, line: 0, text: "" });
  }
  return {
    format: format?.name,
    counts: sink.counts,
    unstated: sink.unstated,
    udp: sink.udp,
    rows: sink.rows,
    lines: feed.lines,
    skippedByReason: sink.skippedByReason,
    notes: [...tablesNote(sink), ...sink.notes],
  };
}

function tablesNote({ repeats }: CountingSink): string[] {
  return repeats === 0 ? [] : [`${repeats + 1} tables in one text: added up`];
}
