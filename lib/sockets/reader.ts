/**
 * reader: what every parser of this room is, and where its findings go.
 *
 * A reader takes one line at a time and keeps no more than the row it is at, so that a text of any length can be
 * counted in constant memory. What it finds goes to a sink: one collects records, another counts.
 */
import type { SocketRecord, TcpState } from "./record.ts";

/** Takes what a reader finds. Every line of a text ends up in exactly one of `record`, `tally`, `skip` or an error. */
export type Sink = {
  record(record: SocketRecord): void;
  /** A text that was counted before: `   23 TIME-WAIT` from `uniq -c`. */
  tally(state: TcpState, count: number, line: number): void;
  /** A line that is no socket of ours, with the reason. */
  skip(line: number, reason: string, text: string): void;
  /** Something about the whole text that its reader should know. Said once, however often it is noted. */
  note(text: string): void;
};

/** A line of a larger text: `text[start..end)`, and its number from 1. */
export type Bounds = { start: number; end: number; line: number };

/** Reads one format, line by line. Throws a ParseError at a line that it refuses. */
export type Reader = {
  line(text: string, number: number): void;
  /** After the last line. */
  end(): void;
  /** Before the first line of a piece of text that `quick` and `take` will get: what can be known of it at once. */
  piece?(text: string): void;
  /**
   * The short cut for counting: the state of the line `text[start..end)` if that is a TCP row as plain as they come,
   * else undefined, and then `line` has to look at it.
   */
  quick?(text: string, start: number, end: number): TcpState | undefined;
  /** The same for records: takes the line if it is plain, else says false, and then `line` has to look at it. */
  take?(text: string, bounds: Bounds): boolean;
};

/** What a caller may know better than the text. */
export type ParseOptions = {
  /** Byte order of the machine that wrote /proc/net/tcp: not visible in its text. Default `little`. */
  readonly endian?: "little" | "big";
  /** What kind of table it is, where the text cannot tell: /proc/net/tcp and /proc/net/udp look almost the same. */
  readonly protocol?: "tcp" | "udp";
  /** Printed just now by a tool of this machine, hence by a new one. Default false. */
  readonly isLive?: boolean;
};

/** One format: how to recognise it, and how to read it. */
export type Format = {
  /** Shown to users and in JSON: `ss`, `netstat-linux`. */
  readonly name: string;
  /** The tool that prints it. */
  readonly tool: string;
  /** One line for the refusal message and the reference. */
  readonly about: string;
  /** Does one table have several headers, one for each section? Then it is the heading of a section that no table has twice. Default false. */
  readonly hasSections?: boolean;
  /** Is this line a header or a row of this format, and of no other? */
  readonly recognises: (line: string) => boolean;
  readonly open: (sink: Sink, options: ParseOptions) => Reader;
};

/** Reasons for a skip that several readers share. */
export const SKIP = {
  blank: "blank line",
  header: "header",
  section: "heading of a section",
  prose: "text around the table",
  other: "not TCP or UDP",
  details: "details of the row above",
} as const;
