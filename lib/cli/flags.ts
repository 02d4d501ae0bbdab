/**
 * flags: one table per command; parsing, types, help and docs all come from it.
 *
 * yargs splits the words, and no more. It is not a check: `-c abc` gives NaN with exit code 0 and
 * `-c 1 -c 2` an array. So every value arrives here as text and passes the check named in the table, whether
 * it came from the command line or from the environment.
 */
import type { Options } from "yargs";

/** Turns the text of one value into `T`, or throws an Error that says what was expected. */
export type Check<T> = (text: string) => T;

/** One row of a command's flag table. */
export type Flag<T = unknown> = {
  readonly about: string;
  readonly check: Check<T>;
  readonly default: T;
  /** What the value stands for in the help, unit included: `N`, `MS`, `HOST`. A switch has none. */
  readonly metavar?: string;
  /** Environment variable that stands in when the flag is not given. */
  readonly env?: string;
  /** One letter, for the two or three flags that everybody types. */
  readonly alias?: string;
  /** What the help shows instead of the default value. */
  readonly defaultText?: string;
  /** What each value means, where there are few; below the flags the help says so. */
  readonly meanings?: Readonly<Record<string, string>>;
  /** Heading of the help under which it stands. */
  readonly group?: string;
};

/** A flag table: kebab-case name to flag. */
export type Flags = Readonly<Record<string, Flag>>;

/** The values that a table yields: the same names, the checked types. */
export type Values<F extends Flags> = {
  readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never;
};

/** A flag, and the variable that may have stood in for it: what a complaint is about. */
export function flagOrVariable(name: string, { env }: Flag): string {
  return env === undefined ? `--${name}` : `--${name}, or ${env} in the environment,`;
}

type Details<T> = Omit<Flag<T>, "check" | "default">;

/** A flag with a default. */
export function flag<T>(check: Check<T>, fallback: NoInfer<T>, details: Details<T>): Flag<T> {
  return { ...details, check, default: fallback };
}

/** A flag that may stay unset. */
export function optional<T>(check: Check<T>, details: Details<T>): Flag<T | undefined> {
  return { ...details, check, default: undefined };
}

/** A switch: `--name`, `--no-name`, or a word such as `true` or `0` from the environment. */
export function toggle(details: Omit<Details<boolean>, "metavar">): Flag<boolean> {
  return { ...details, check: truth, default: false };
}

/** A whole number from `min` to `max`, both included. Accepts 10000 and 10_000, nothing else. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Check<number> {
  return (text) => {
    const value = /^-?\d+(_\d+)*$/.test(text) ? Number(text.replaceAll("_", "")) : NaN;
    if (value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new Error(`expected a whole number ${range}, got ${quote(text)}`);
  };
}

/** A time in milliseconds for which a timer can be set: setTimeout() takes 2^31 - 1, and makes 1 of everything beyond. */
export function milliseconds(min: number): Check<number> {
  return integer(min, 2 ** 31 - 1);
}

/** One of the given words. */
export function choice<const T extends string>(...words: readonly T[]): Check<T> {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    throw new Error(`expected one of ${words.join(", ")}, got ${quote(text)}`);
  };
}

/** Any text that is not empty. */
export function words(text: string): string {
  if (text !== "") return text;
  throw new Error("expected some text, got nothing");
}

function truth(text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off|)$/i.test(text)) return false;
  throw new Error(`expected true or false, got ${quote(text)}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

/** How yargs has to see a flag: as text, whatever it means. */
export function yargsOption({ metavar, alias }: Flag): Options {
  const isSwitch = metavar === undefined;
  return {
    type: isSwitch ? "boolean" : "string",
    ...(alias === undefined ? {} : { alias }),
    ...(isSwitch ? {} : { requiresArg: true }),
  };
}

/** A value that did not pass its check, with the flag or variable that brought it. */
export class FlagError extends Error {
  override name = "FlagError";
}

/**
 * Checks every value: the command line wins over the environment, the environment over the default.
 * An environment variable that is set but empty counts as unset.
 */
export function checkedValues<F extends Flags>(
  flags: F,
  given: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Values<F> {
  const values = Object.entries(flags).map(([name, flag]) => [
    name,
    valueOf(name, flag, given[name], env),
  ]);
  return Object.fromEntries(values) as Values<F>;
}

function valueOf(
  name: string,
  flag: Flag,
  given: unknown,
  env: Readonly<Record<string, string | undefined>>,
): unknown {
  if (given !== undefined) return checked(`--${name}`, flag, `${given as string | boolean}`);
  const fromEnv = flag.env === undefined ? undefined : env[flag.env];
  if (flag.env !== undefined && fromEnv !== undefined && fromEnv !== "")
    return checked(flag.env, flag, fromEnv);
  return flag.default;
}

function checked(source: string, flag: Flag, text: string): unknown {
  try {
    return flag.check(text);
  } catch (error) {
    throw new FlagError(`${source}: ${(error as Error).message}`);
  }
}
