import { expect, it } from "vitest";
import { Histogram } from "./tally.ts";

it("a histogram counts a value that is equal to a bound below it, as Prometheus' le says", () => {
  const histogram = new Histogram([1, 5]);
  for (const value of [0, 1, 2, 5, 6]) histogram.add(value);
  expect(histogram.counts).toEqual([2, 2, 1]);
  expect(histogram.sum).toBe(14);
});
