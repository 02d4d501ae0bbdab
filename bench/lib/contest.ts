/**
 * contest: what is measured, and beside whom.
 *
 * A contest has contestants, who each return figures by name, and lines, which set one figure beside another. Every run of
 * every contestant happens in a sandbox of its own: counters, ports and TIME_WAITs of the run before are not there.
 */

/** What one run of a contestant has measured, by name. */
export type Figures = Readonly<Record<string, number>>;

/** Why a run has measured nothing, though nothing broke. */
export type Unmeasured = { readonly missing: string };

/** What comes of a run. */
export type Outcome = Figures | Unmeasured;

/** The reason, where there are no figures. */
export function missingIn(outcome: Outcome): string | undefined {
  return typeof outcome.missing === "string" ? outcome.missing : undefined;
}

/** A tool that not everybody has, and the Debian package that brings it. */
export type Tool = { readonly file: string; readonly package: string };

/** Somebody who is measured. */
export type Contestant = {
  readonly needs?: readonly Tool[];
  /** The namespace is made by what is measured itself, or does not matter: no sandbox. */
  readonly isOutside?: boolean;
  /** All its programs share one core. */
  readonly isOnOneCore?: boolean;
  readonly run: (load: number) => Promise<Outcome>;
};

export type Unit = "1/s" | "ns" | "ms" | "s" | "bytes" | "%";

/** What is to be reached: so many times the peer, or so much. */
export type Reach =
  { readonly ratio: number } | { readonly atMost: number } | { readonly atLeast: number };

/** A figure: the contestant's name and that of the figure. */
export type Source = readonly [contestant: string, figure: string];

/** One line of the table. */
export type Line = {
  readonly what: string;
  readonly unit: Unit;
  /** Which is better, more or less? The ratio is always made so that more is better. */
  readonly better: "more" | "less";
  readonly ours: Source;
  /** Beside whom, and how to call them. */
  readonly peer?: { readonly name: string; readonly source: Source };
  /** Neither of the two is ours: no ratio. */
  readonly isFloor?: boolean;
  readonly reach?: Reach;
  /** What keeps it from being better: for the page. */
  readonly limit: string;
};

/** How a figure grows with the load. */
export type Growth = {
  readonly what: string;
  /** Of what the load is a number. */
  readonly of: string;
  readonly loads: readonly number[];
  readonly unit: Unit;
  readonly source: Source;
  /** `total` is to grow no faster than the load; `rate` and `each` are not to get worse at all. */
  readonly kind: "total" | "rate" | "each";
  /** Why it grows faster than that, where it does. */
  readonly reason?: string;
};

/** Some contestants who do the same. */
export type Contest = {
  readonly name: string;
  readonly contestants: Readonly<Record<string, Contestant>>;
  readonly lines: readonly Line[];
  readonly growth?: readonly Growth[];
  readonly load: { readonly full: number; readonly quick: number };
  /** Runs of each contestant. */
  readonly runs: number;
  /** Cannot be made small: --quick leaves it out. */
  readonly isLong?: boolean;
};
