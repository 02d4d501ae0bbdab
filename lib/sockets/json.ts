/** json: what `states --json` prints. The shape is an interface: it changes only together with its version. */
import { groupBy, type Group, type Grouping } from "./groups.ts";
import type { Look } from "./look.ts";
import type { SocketRecord, StateCounts } from "./record.ts";
import type { Skipped } from "./sinks.ts";

/** One look as plain data. Version 1; see docs/reference/formats.md. */
export type LookJson = {
  readonly version: 1;
  /** The format that was recognised; null where there was no line to recognise it by. */
  readonly format: string | null;
  /** The command that was run, or the file that was read. */
  readonly from: string;
  /** All 11 states, zeros included. */
  readonly counts: StateCounts;
  /** TCP rows whose text shows no state. */
  readonly unstated: number;
  readonly by?: Grouping;
  readonly groups?: readonly Group[];
  readonly records?: readonly SocketRecord[];
  /** With --explain: every line is a row or skipped, and why. */
  readonly lines?: number;
  readonly rows?: number;
  readonly skipped?: readonly Skipped[];
  readonly notes: readonly string[];
};

/** Which parts are wanted beside the counts. */
export type LookJsonOptions = {
  readonly by?: Grouping | undefined;
  readonly records: boolean;
  readonly explain: boolean;
};

/** The JSON form of a look. */
export function lookJson(look: Look, { by, records, explain }: LookJsonOptions): LookJson {
  const { tally, from, notes } = look;
  return {
    version: 1,
    format: tally.format ?? null,
    from,
    counts: tally.counts,
    unstated: tally.unstated,
    ...(by === undefined ? {} : { by, groups: groupBy(look.records ?? [], by, look.served) }),
    ...(records ? { records: look.records ?? [] } : {}),
    ...(explain ? { lines: tally.lines, rows: tally.rows, skipped: look.skipped ?? [] } : {}),
    notes,
  };
}
