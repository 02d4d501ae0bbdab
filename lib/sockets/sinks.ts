/** sinks: where a reader's findings go. One counts, in constant memory; the other also keeps them. */
import { SKIP, type Sink } from "./reader.ts";
import { emptyCounts, type SocketRecord, type TcpState } from "./record.ts";

/** A line that became no record, with the reason. */
export type Skipped = { readonly line: number; readonly reason: string; readonly text: string };

/** Decides which records count. */
export type Predicate = (record: SocketRecord) => boolean;

/** Why a record that a filter left out is in no count. */
export const FILTERED = "left out by the filter";

/** Reasons and notes may quote foreign text: so many different ones are kept, or they could fill the memory. */
const MAX_REASONS = 200;
/** So much of a header tells it from others. */
const MAX_HEADER = 400;
const MANY_REASONS = "one of many other reasons";

/** What a count says of its sockets, but for their state. */
const ANY_SOCKET: Omit<SocketRecord, "state" | "line"> = {
  protocol: "tcp",
  family: undefined,
  local: { address: "*", port: null },
  remote: { address: "*", port: null },
  recvQ: undefined,
  sendQ: undefined,
  owners: [],
};

/** Counts records and reasons. */
export class CountingSink implements Sink {
  readonly counts = emptyCounts();
  readonly skippedByReason = new Map<string, number>();
  readonly notes = new Set<string>();
  /** TCP rows whose text shows no state. */
  unstated = 0;
  udp = 0;
  /** Lines that became a record or a pre-counted number. */
  rows = 0;
  readonly where: Predicate | undefined;
  /** Looks at a line before it is skipped, and throws where it must not be. */
  inspect: Sink["skip"] | undefined;

  /** The reason that lines are skipped for of which no table has the same one twice. */
  unique: string = SKIP.header;
  /** Tables that began with the header of one before. */
  repeats = 0;
  /** How often each header came again with rows between, and how many rows there were before the last. */
  readonly #headers = new Map<string, { repeats: number; rows: number }>();

  constructor(where?: Predicate) {
    this.where = where;
  }

  record(record: SocketRecord): void {
    if (this.where?.(record) === false) {
      this.skip(record.line, FILTERED, "");
      return;
    }
    this.rows += 1;
    if (record.protocol === "udp") this.udp += 1;
    else if (record.state === undefined) this.unstated += 1;
    else this.counts[record.state] += 1;
  }

  tally(state: TcpState, count: number, line: number): void {
    if (this.where?.({ ...ANY_SOCKET, state, line }) === false) {
      this.skip(line, FILTERED, "");
      return;
    }
    this.rows += 1;
    this.counts[state] += count;
  }

  skip(line: number, reason: string, text: string): void {
    this.inspect?.(line, reason, text);
    if (reason === this.unique) this.#header(text);
    const isNew = !this.skippedByReason.has(reason);
    const known = isNew && this.skippedByReason.size >= MAX_REASONS ? MANY_REASONS : reason;
    this.skippedByReason.set(known, (this.skippedByReason.get(known) ?? 0) + 1);
  }

  /** The same header again with rows between is another table; its blanks change with what is below it. */
  #header(text: string): void {
    const header = text.slice(0, MAX_HEADER).replaceAll(/\s+/g, "");
    const rows = this.rows + (this.skippedByReason.get(FILTERED) ?? 0);
    const before = this.#headers.get(header);
    if (before === undefined) {
      if (this.#headers.size < MAX_REASONS) this.#headers.set(header, { repeats: 0, rows });
      return;
    }
    if (rows > before.rows) before.repeats += 1;
    before.rows = rows;
    this.repeats = Math.max(this.repeats, before.repeats);
  }

  note(text: string): void {
    if (this.notes.size < MAX_REASONS) this.notes.add(text);
  }
}

/** Counts, and keeps every record and every skipped line. */
export class CollectingSink extends CountingSink {
  readonly records: SocketRecord[] = [];
  readonly skipped: Skipped[] = [];

  override record(record: SocketRecord): void {
    const before = this.rows;
    super.record(record);
    if (this.rows > before) this.records.push(record);
  }

  override skip(line: number, reason: string, text: string): void {
    super.skip(line, reason, text);
    this.skipped.push({ line, reason, text });
  }
}
