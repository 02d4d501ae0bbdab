/** statistics: several runs as one number and its spread. */

/** The median with the lowest and the highest of the figures; `without` rounds have none, and are worse than all others for the median. */
export type Spread = {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly without?: number;
};

/** For the median whoever has no figure is given `worst`. Throws a RangeError when there are no values. */
export function spread(values: readonly (number | undefined)[], worst: number): Spread {
  const figures = values.filter((value) => value !== undefined);
  const without = values.length - figures.length;
  return {
    ...{
      median: median(values.map((value) => value ?? worst)),
      min: Math.min(...figures),
      max: Math.max(...figures),
    },
    ...(without === 0 ? {} : { without }),
  };
}

/** The middle value, or the mean of the two in the middle. Throws a RangeError when there are no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (low === undefined || high === undefined) throw new RangeError("no values");
  return (low + high) / 2;
}
