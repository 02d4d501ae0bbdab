/** sampler: looks at the socket table again and again, with the time of each look. */
import { readProcNet } from "../sockets/capture.ts";
import { sampleRow, type Sample, type SampleRow } from "./samples.ts";

/** A sampler at work. */
export type Sampler = {
  /** The table as it was last seen. */
  readonly rows: () => readonly SampleRow[];
  readonly stop: () => readonly Sample[];
};

const PAUSE_MS = 1;

/** Looks every millisecond or so, never keeping more than what has changed. */
export function startSampler(): Sampler {
  const now = realtimeClock();
  const samples: Sample[] = [];
  let lastText = "";
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    const fromNs = now();
    const rows = readProcNet().map(sampleRow);
    const sample = { fromNs: `${fromNs}`, toNs: `${now()}`, rows, repeats: 0 };
    // Timers run all the time; what matters is whether a state or a queue is another one.
    const text = JSON.stringify(rows.map((row) => ({ ...row, timer: row.timer?.name })));
    const last = samples.at(-1);
    if (text === lastText && last !== undefined && last.repeats > 0)
      samples[samples.length - 1] = { ...sample, repeats: last.repeats + 1 };
    else samples.push(text === lastText ? { ...sample, repeats: 1 } : sample);
    lastText = text;
    timer = setTimeout(look, PAUSE_MS);
  };
  look();
  return {
    rows: () => samples.at(-1)?.rows ?? [],
    stop: () => {
      clearTimeout(timer);
      return samples;
    },
  };
}

/**
 * CLOCK_REALTIME finer than the millisecond that Date has: waits for the moment at which Date goes on by one, and counts from there
 * with the monotonic clock. Whoever is interrupted at that moment notices it late, never early: of several tries the earliest counts.
 * When somebody sets the clock meanwhile, Date shows it, and it is done again.
 */
export function realtimeClock(): () => bigint {
  let offsetNs = measuredOffsetNs();
  return () => {
    const fromMs = Date.now();
    const ns = process.hrtime.bigint() + offsetNs;
    const isSet =
      ns < BigInt(fromMs - SET_MS) * NS_PER_MS || ns > BigInt(Date.now() + SET_MS) * NS_PER_MS;
    if (!isSet) return ns;
    offsetNs = measuredOffsetNs();
    return process.hrtime.bigint() + offsetNs;
  };
}

const TRIES = 5;
const NS_PER_MS = 1_000_000n;
/** Whole milliseconds, and a clock that is slowly corrected. */
const SET_MS = 2;

function measuredOffsetNs(): bigint {
  const tries = Array.from({ length: TRIES }, () => {
    const before = Date.now();
    let now = before;
    while (now === before) now = Date.now();
    return BigInt(now) * NS_PER_MS - process.hrtime.bigint();
  });
  return tries.reduce((one, other) => (one > other ? one : other));
}
