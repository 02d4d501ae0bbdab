/** look: one socket table, from this machine, a file or a stream, as counts and, if wanted, records. */
import { constants, createReadStream, openSync, statSync } from "node:fs";
import { Socket } from "node:net";
import { addAbortSignal } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { SOURCE_BLIND_SPOTS, type Source } from "./blind-spots.ts";
import { capture, CaptureError, type AskedSource } from "./capture.ts";
import { decodeStream } from "./decode.ts";
import { isAboutStates } from "./filter.ts";
import { openQuestion, type Inquiry } from "./question.ts";
import { countStream, parseStream } from "./parse.ts";
import type { ParseOptions } from "./reader.ts";
import type { ParsedText, Tally } from "./reading.ts";
import { totalOf, type Endpoint, type SocketRecord, type StateCounts } from "./record.ts";
import type { Skipped } from "./sinks.ts";
import { tally } from "./tally.ts";

/** What was seen, and through what. */
export type Look = {
  readonly tally: Tally;
  /** Only where they were wanted. */
  readonly records?: readonly SocketRecord[];
  readonly skipped?: readonly Skipped[];
  /** The ports where something listens, those of sockets that were left out too. Only where it was asked for groups. */
  readonly served?: ReadonlySet<Endpoint["port"]>;
  /** The command that was run, or the name of the file. */
  readonly from: string;
  readonly source?: Source;
  readonly blindSpots: readonly string[];
  readonly notes: readonly string[];
};

/** How to look. */
export type LookOptions = ParseOptions &
  Inquiry & {
    /** `counts` alone are read in constant memory; `lines` are kept too, and what became of them; `records`: every socket. */
    readonly want: "counts" | "lines" | "records";
    /** Also owners, user ids, inodes and timers of a live table. */
    readonly details?: boolean;
    /** What the look before this one has counted. */
    readonly before?: StateCounts;
    readonly signal?: AbortSignal;
  };

/**
 * Looks at this machine.
 *
 * @throws CaptureError when the tool is missing or fails, ParseError when its output cannot be read.
 */
export async function lookLive(asked: AskedSource, options: LookOptions): Promise<Look> {
  const { details, before, signal } = options;
  const { where, ...question } = openQuestion(options);
  if (asked === "counters" && (options.want !== "counts" || where !== undefined))
    throw new CaptureError("the source counters has no sockets to filter, group or list; use ss");
  const keep = options.want === "counts" ? "counts" : "records";
  const captured = await capture(asked, {
    details: details ?? false,
    keep,
    ...(where === undefined ? {} : { where }),
    ...(before === undefined ? {} : { before }),
    ...(signal === undefined ? {} : { signal }),
  });
  return {
    tally: captured.table,
    ...(keep === "records" ? recordsOf(captured.table) : {}),
    ...(options.by === undefined ? {} : { served: question.served }),
    from: captured.command,
    source: captured.source,
    blindSpots: SOURCE_BLIND_SPOTS[captured.source],
    notes: [...captured.notes, ...captured.table.notes, ...question.notes()],
  };
}

/** From this many sockets on, reading the table costs more than a watcher should. */
const LONG_TABLE_ROWS = 5_000;

/**
 * The same for those who look often. Where nothing but the counts is wanted and the source may be chosen, it is one that starts no
 * process, /proc; and while the table is long the kernel's own counters, and only the states of few are listed.
 */
export function lookOften(
  asked: AskedSource,
  options: LookOptions,
  longTableRows = LONG_TABLE_ROWS,
): () => Promise<Look> {
  const asksNothing = openQuestion(options).where === undefined;
  let mayChoose = asked === "auto" && options.want === "counts" && asksNothing;
  let before: StateCounts | undefined;
  const lookAgain = async (): Promise<Look> => {
    const isLong = before !== undefined && totalOf(before) > longTableRows;
    const source = !mayChoose ? asked : isLong ? "counters" : "proc";
    try {
      return await lookLive(source, before === undefined ? options : { ...options, before });
    } catch (error) {
      const isMissing = error instanceof CaptureError && options.signal?.aborted !== true;
      if (!mayChoose || !isMissing) throw error;
      mayChoose = false;
      return lookAgain();
    }
  };
  return async () => {
    const seen = await lookAgain();
    before = seen.tally.counts;
    return seen;
  };
}

/**
 * Looks again and again, `intervalMs` from start to start, or as fast as it can be done. Ends when `signal` aborts;
 * throws what a look throws.
 */
export async function* looks(
  look: () => Promise<Look>,
  intervalMs: number,
  signal: AbortSignal,
): AsyncGenerator<Look> {
  try {
    for (;;) {
      const dueMs = performance.now() + intervalMs;
      yield await look();
      await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/**
 * Looks at a file; `-` is standard input.
 *
 * @throws CaptureError when it cannot be read, ParseError when it is no table of sockets; and when `signal` aborts.
 */
export async function lookAtFile(
  path: string,
  format: string,
  { want, filter, by, signal, ...parsing }: LookOptions,
): Promise<Look> {
  const { where, served, notes } = openQuestion({ filter, by });
  const text = decodeStream(path === "-" ? inputBytes(signal) : fileBytes(path, signal));
  const options = {
    ...protocolNamed(path),
    ...(where === undefined ? {} : { where }),
    ...(parsing.endian === undefined ? {} : { endian: parsing.endian }),
  };
  const from = path === "-" ? "standard input" : path;
  if (want === "counts") {
    const counted = await countStream(text, format, options);
    refuseCounts(counted, { want, filter, by });
    return { tally: counted, from, blindSpots: [], notes: [...counted.notes, ...notes()] };
  }
  const table = await parseStream(text, format, options);
  refuseCounts(table, { want, filter, by });
  return {
    tally: table,
    ...recordsOf(table),
    ...(by === undefined ? {} : { served }),
    from,
    blindSpots: [],
    notes: [...table.notes, ...notes()],
  };
}

/** Text that somebody has counted before has states, and no sockets. */
function refuseCounts({ format }: Tally, { want, filter = {}, by }: LookOptions): void {
  const asksForSockets = want === "records" || by !== undefined || !isAboutStates(filter);
  if (format === tally.name && asksForSockets)
    throw new CaptureError(
      "these counts have no sockets to filter, group or list: only --state applies",
    );
}

function recordsOf({ records, skipped }: ParsedText): Pick<Look, "records" | "skipped"> {
  return { records, skipped };
}

/** The rows of /proc/net/tcp and /proc/net/udp look almost the same: the name of the file decides. */
function protocolNamed(path: string): { protocol?: "tcp" | "udp" } {
  const name = /(?:^|[/_])(tcp|udp)(?:lite)?6?(?:\.\w+)?$/.exec(path)?.[1];
  return name === "tcp" || name === "udp" ? { protocol: name } : {};
}

function inputBytes(signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
  return signal === undefined ? process.stdin : addAbortSignal(signal, process.stdin);
}

async function* fileBytes(
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const bytes of openFile(path, signal === undefined ? {} : { signal }))
      yield bytes as Uint8Array;
  } catch (error) {
    throw new CaptureError(`cannot read ${path}: ${plainReason(error as NodeJS.ErrnoException)}`);
  }
}

/** A read or an open that waits for the writer of a pipe cannot be broken off, and exit waits for it: so pipes are polled. */
function openFile(path: string, options: { signal?: AbortSignal }): AsyncIterable<unknown> {
  if (statSync(path).isFIFO()) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd, readable: true, writable: false, ...options });
  }
  return createReadStream(path, { highWaterMark: 256 * 1024, ...options });
}

const REASONS: ReadonlyMap<string | undefined, string> = new Map([
  ["ENOENT", "no such file"],
  ["EISDIR", "it is a directory"],
  ["EACCES", "permission denied"],
]);

function plainReason({ code, message }: NodeJS.ErrnoException): string {
  return REASONS.get(code) ?? message;
}
