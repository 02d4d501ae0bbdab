/** sampler: looks at the socket table again and again, with the time of each look. */
import { readProcNet } from "../sockets/capture.ts";
import { realtimeClock } from "./realtime.ts";
import { sampleRow, type Sample, type SampleRow } from "./samples.ts";

/** A sampler at work. */
export type Sampler = {
  /** The table as it was last seen. */
  readonly rows: () => readonly SampleRow[];
  readonly stop: () => readonly Sample[];
  /** What was seen and is not kept, in words. */
  readonly notes: () => readonly string[];
};

const PAUSE_MS = 1;
/** So many rows are kept, of all readings together; beyond, the newest reading takes the place of the one before. */
const MAX_ROWS = 500_000;

/** Looks every millisecond or so, never keeping more than what has changed, nor many more than `maxRows` rows. */
export function startSampler(maxRows = MAX_ROWS): Sampler {
  const now = realtimeClock();
  const samples: Sample[] = [];
  let lastText = "";
  let kept = 0;
  let isFull = false;
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
    else if (last !== undefined && kept + rows.length > maxRows) {
      samples[samples.length - 1] = sample;
      isFull = true;
    } else {
      kept += rows.length;
      samples.push(text === lastText ? { ...sample, repeats: 1 } : sample);
    }
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
    notes: () =>
      isFull
        ? ["states are missing: so many connections changed that not all readings are kept"]
        : [],
  };
}
