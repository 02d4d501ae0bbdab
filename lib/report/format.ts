/** format: numbers for people, and foreign text. */
export { safe } from "../sockets/safe.ts";

/** A whole number with thousands separated: 28,232. */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** A duration: three significant digits below 100 ms, whole milliseconds below 10 s, then seconds. */
export function ms(durationMs: number): string {
  if (durationMs >= 10_000) return `${(durationMs / 1_000).toFixed(1)} s`;
  return durationMs >= 100
    ? `${count(Math.round(durationMs))} ms`
    : `${Number(durationMs.toPrecision(3))} ms`;
}

/** A size: bytes, KiB or MiB with one decimal. */
export function bytes(value: number): string {
  if (value < 1_024) return `${Math.round(value)} B`;
  return value < 1_048_576
    ? `${(value / 1_024).toFixed(1)} KiB`
    : `${(value / 1_048_576).toFixed(1)} MiB`;
}

/** As wide as a terminal is at least. */
export const WIDTH = 80;

/** Breaks a text into lines of at most 80 columns: the first after `first`, the others after `margin`, which is as many blanks. */
export function wrapped(text: string, first = "", margin = " ".repeat(first.length)): string {
  const lines: string[] = [];
  let line = first;
  let isEmpty = true;
  for (const word of text.split(" ")) {
    if (!isEmpty && line.length + word.length + 1 > WIDTH) {
      lines.push(line);
      line = margin;
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line].join("\n");
}
