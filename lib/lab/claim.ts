/**
 * claim: one sentence with a value predicted before the run and a value measured after it.
 */

/** What a claim predicts: an exact value, or a bound where an exact one cannot be known beforehand. */
export type Expectation =
  | { readonly kind: "exactly"; readonly value: number | string }
  | { readonly kind: "between"; readonly low: number; readonly high: number };

/** Exactly this. */
export function exactly(value: number | string): Expectation {
  return { kind: "exactly", value };
}

/** At least `low`, at most `high`, both included. Say in the claim's reason why it cannot be exact. */
export function between(low: number, high: number): Expectation {
  return { kind: "between", low, high };
}

/** At least this. */
export function atLeast(low: number): Expectation {
  return between(low, Infinity);
}

/** At most this. */
export function atMost(high: number): Expectation {
  return between(-Infinity, high);
}

/** The words for an expectation: `1000`, `at least 3`, `2 to 7`. */
export function expectationText(expected: Expectation): number | string {
  if (expected.kind === "exactly") return expected.value;
  const [low, high] = [expected.low, expected.high].map((value) => value.toLocaleString("en-US"));
  if (expected.high === Infinity) return `at least ${low}`;
  if (expected.low === -Infinity) return `at most ${high}`;
  return `${low} to ${high}`;
}

/** A kernel counter that accounts for a difference: each count of it may move the measured value by one. */
export type Explanation = {
  readonly counter: string;
  readonly value: number;
  readonly because: string;
};

/** A claim that was checked. */
export type Claim = {
  readonly text: string;
  readonly predicted: number | string;
  readonly measured: number | string;
  readonly held: boolean;
  /** Why the prediction is what it is. */
  readonly because?: string;
  /** The counter that accounts for the difference, when there was one. */
  readonly explained?: Explanation;
};

/** A claim that has been predicted and not yet measured. */
export type Prediction = {
  readonly text: string;
  readonly expected: Expectation;
  readonly because?: string;
};

/** Checks a prediction. A difference is only accepted when a counter of the kernel accounts for all of it. */
export function checkClaim(
  prediction: Prediction,
  measured: number | string,
  explanation?: Explanation,
): Claim {
  const { text, expected, because } = prediction;
  const held = matches(expected, measured);
  const explained =
    !held && explanation !== undefined && isWithin(expected, measured, explanation.value);
  return {
    text,
    predicted: expectationText(expected),
    measured,
    held: held || explained,
    ...(because === undefined ? {} : { because }),
    ...(explained ? { explained: explanation } : {}),
  };
}

function matches(expected: Expectation, measured: number | string): boolean {
  if (expected.kind === "exactly") return measured === expected.value;
  return typeof measured === "number" && measured >= expected.low && measured <= expected.high;
}

function isWithin(expected: Expectation, measured: number | string, slack: number): boolean {
  if (typeof measured !== "number") return false;
  if (expected.kind === "between")
    return measured >= expected.low - slack && measured <= expected.high + slack;
  return typeof expected.value === "number" && Math.abs(measured - expected.value) <= slack;
}
