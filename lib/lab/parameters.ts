/** parameters: what a user may change about labs, seen across several of them. */
import type { Lab } from "./define.ts";

/** A parameter of one lab, or of several that call it by the same name. */
export type Parameter = {
  readonly name: string;
  readonly about: string;
  /** Its default, for people. */
  readonly fallback: string;
  /** What all of these labs can do with. */
  readonly low: number;
  readonly high: number;
  readonly multipleOf: number;
};

const ANY = [1, 500] as const;

/** The parameters of these labs, each name once; without those of which no value suits all of them. */
export function parametersOf(labs: readonly Lab[]): readonly Parameter[] {
  const names = new Set(labs.flatMap(({ params }) => Object.keys(params)));
  const all = [...names].map((name) => {
    const theirs = labs.map(({ params }) => params[name]).filter((param) => param !== undefined);
    const ranges = theirs.map(([, , range = ANY]) => range);
    const fallbacks = new Set(theirs.map(([fallback]) => `${fallback}`));
    const meanings = new Set(theirs.map(([, about]) => about));
    return {
      name,
      about: meanings.size === 1 ? [...meanings].join("") : `In ${theirs.length} of these labs`,
      fallback: fallbacks.size === 1 ? [...fallbacks].join("") : "each its own",
      low: Math.max(...ranges.map(([low]) => low)),
      high: Math.min(...ranges.map(([, high]) => high)),
      multipleOf: Math.max(...ranges.map(([, , multipleOf = 1]) => multipleOf)),
    };
  });
  return all.filter(({ low, high }) => low <= high);
}

/**
 * The values with which a lab runs: those given, as far as it has such parameters, and its defaults. Throws RangeError for one that the
 * lab cannot do with.
 */
export function parameterValues(
  { name: lab, params }: Lab,
  given: Readonly<Record<string, number>> = {},
): Readonly<Record<string, number>> {
  const values = Object.entries(params).map(([name, [fallback, , range = ANY]]) => {
    const value = given[name] ?? fallback;
    const [low, high, multipleOf = 1] = range;
    if (Number.isInteger(value) && value >= low && value <= high && value % multipleOf === 0)
      return [name, value] as const;
    const what = multipleOf === 1 ? "a whole number" : `a multiple of ${multipleOf}`;
    throw new RangeError(`${lab}: ${name}: expected ${what} from ${low} to ${high}, got ${value}`);
  });
  return Object.fromEntries(values);
}
