import { describe, expect, it } from "vitest";
import { areAlike, AtDistance } from "./distance.ts";

/** The distances that are measured, one after the other; the last one for ever. */
function measured(...distances: readonly (number | undefined)[]): {
  readonly measureNs: () => Promise<number | undefined>;
  readonly patienceMs: number;
} {
  const left = [...distances];
  return {
    measureNs: () => Promise.resolve(left.length > 1 ? left.shift() : left[0]),
    patienceMs: 5_000,
  };
}

describe("two distances", () => {
  it("are alike within a kind, near or far, and not across", () => {
    expect(areAlike(41, 66)).toBe(true);
    expect(areAlike(288, 205)).toBe(true);
    expect(areAlike(66, 205)).toBe(false);
    expect(areAlike(212, 41)).toBe(false);
  });
});

describe("a run that depends on the distance of two cores", () => {
  it("begins when they are as far apart as wanted", async () => {
    let begun = 0;
    const work = (): Promise<number> => Promise.resolve((begun += 1));
    expect(await new AtDistance(240, measured(44, 61, 230)).run(work)).toBe(1);
  });

  it("is made once more when they have moved meanwhile", async () => {
    let begun = 0;
    const work = (): Promise<number> => Promise.resolve((begun += 1));
    expect(await new AtDistance(44, measured(44, 230, 44)).run(work)).toBe(2);
  });

  it("has no result when they never were", async () => {
    const options = { ...measured(44), patienceMs: 1 };
    expect(await new AtDistance(240, options).run(() => Promise.resolve(23))).toBeUndefined();
  });

  it("happens at once where no distance can be measured", async () => {
    expect(await new AtDistance(undefined, measured(44)).run(() => Promise.resolve(23))).toBe(23);
  });
});
