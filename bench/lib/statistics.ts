/** statistics: several runs as one number and its spread. */

/** The median with the lowest and the highest. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number };

/** Throws a RangeError when there are no values. */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** The middle value, or the mean of the two in the middle. Throws a RangeError when there are no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (low === undefined || high === undefined) throw new RangeError("no values");
  return (low + high) / 2;
}
