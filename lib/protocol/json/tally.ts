/** tally: what a server counts. One object for all connections. */
import { PROTOCOL_ERRORS, type ProtocolErrorCode } from "./errors.ts";

/** Upper bounds of the buckets for message sizes, in bytes; one more holds the rest. */
const SIZE_BUCKETS = [64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576] as const;
/**
 * Upper bounds of the buckets, in milliseconds, for the time from a chunk's arrival to its answers' departure; where a handler answers
 * later, for the time that it takes.
 */
const TIME_BUCKETS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 100, 1_000] as const;

/** How often a value fell between two bounds, and the sum of all values. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = [...bounds, Infinity].map(() => 0);
  }

  add(value: number): void {
    const { bounds, counts } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? Infinity)) bucket += 1;
    counts[bucket] = (counts[bucket] ?? 0) + 1;
    this.sum += value;
  }
}

/** Why a connection ended: the error that closed it; `peer` closed in good order, `cut` within a message; `lost` by an error of TCP. */
export type CloseReason = ProtocolErrorCode | "peer" | "cut" | "lost";

export type Tally = ReturnType<typeof newTally>;

/** Everything at 0. */
export function newTally() {
  const codes = Object.keys(PROTOCOL_ERRORS) as ProtocolErrorCode[];
  return {
    /** Connections that were told of, politely refused ones included. */
    accepted: 0,
    /** Connections that were refused without a word: even the refusals were too many. */
    droppedAtOnce: 0,
    tlsFailed: 0,
    /** Complete frames, whatever was in them. */
    messages: 0,
    /** Messages sent, errors and broadcasts included. */
    sent: 0,
    bytesIn: 0,
    bytesOut: 0,
    /** Errors told to peers, by code. */
    errors: new Map<ProtocolErrorCode, number>(codes.map((code) => [code, 0])),
    closed: new Map<CloseReason, number>(
      ["peer" as const, "cut" as const, "lost" as const, ...codes.filter(closes)].map((reason) => [
        reason,
        0,
      ]),
    ),
    sizes: new Histogram(SIZE_BUCKETS),
    times: new Histogram(TIME_BUCKETS_MS),
  };
}

function closes(code: ProtocolErrorCode): boolean {
  return PROTOCOL_ERRORS[code].closes;
}

/** Adds 1 to one of them. */
export function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
