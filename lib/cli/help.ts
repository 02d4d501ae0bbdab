/**
 * help: the help screen of a command, straight from its flag table.
 *
 * Not by yargs: loading it takes longer than starting Node, and asking for help should not.
 */
import type { Flag, Flags } from "./flags.ts";

/** What a help screen tells. */
export type Helpful = {
  readonly name: string;
  readonly summary: string;
  readonly flags: Flags;
  /** Words after the flags, such as `[FILE|-]`. */
  readonly words?: string;
  /** Command lines with a trailing comment each. */
  readonly examples: readonly (readonly [line: string, comment: string])[];
};

/** What every command's help ends with. */
export const EXIT_CODES =
  "Exit codes: 0 fine; 1 a claim or check failed; 2 wrong usage or unmet need;\n130 interrupted";

const COLUMNS = 80;

/** The help screen, 80 columns wide, without a newline at its end. */
export function helpText({ name, summary, flags, words, examples }: Helpful): string {
  const groups = new Set(Object.values(flags).flatMap(({ group }) => group ?? []));
  const usage = `Usage: ${name} [flags]${words === undefined ? "" : ` ${words}`}`;
  return [
    ...wrapped(`${name}: ${summary}`, COLUMNS),
    "",
    usage,
    "",
    ...columns([
      ...rows(flags, undefined),
      ["    --help", "Show this help"],
      ["    --version", "Show the version"],
    ]),
    ...Object.entries(flags).flatMap(([name, { metavar = "", meanings }]) =>
      meanings === undefined
        ? []
        : ["", `${metavar} of --${name}:`, ...columns(Object.entries(meanings))],
    ),
    ...[...groups].flatMap((group) => ["", `${group}:`, ...columns(rows(flags, group))]),
    "",
    "Examples:",
    ...columns(examples.map(([line, comment]) => [line, `# ${comment}`])),
    "",
    EXIT_CODES,
  ].join("\n");
}

/** The flags under one heading, or those that have none. */
function rows(flags: Flags, group: string | undefined): [string, string][] {
  return Object.entries(flags)
    .filter(([, flag]) => flag.group === group)
    .map(([name, flag]) => [spelling(name, flag), about(flag)]);
}

function spelling(name: string, { alias, metavar }: Flag): string {
  const short = alias === undefined ? "    " : `-${alias}, `;
  return `${short}--${name}${metavar === undefined ? "" : ` ${metavar}`}`;
}

/** A switch is off unless given, and nobody has to be told. */
function about(flag: Flag): string {
  const isSwitch = flag.metavar === undefined;
  const shown = flag.defaultText ?? (isSwitch ? undefined : flag.default);
  return [
    flag.about,
    ...(flag.env === undefined ? [] : [`(env ${flag.env})`]),
    ...(shown === undefined ? [] : [`[default: ${shown as string | number}]`]),
  ].join(" ");
}

/**
 * Two columns, the left one as wide as its longest text that leaves half of the screen to the right one. What does not fit into the
 * right one goes on below itself, and below a text that is too long for the left one.
 */
export function columns(rows: readonly (readonly [left: string, right: string])[]): string[] {
  const fits = (left: string): boolean => left.length <= COLUMNS / 2;
  const width = Math.max(...rows.map(([left]) => (fits(left) ? left.length : 0)));
  const indent = " ".repeat(width + 4);
  return rows.flatMap(([left, right]) => {
    const lines = wrapped(right, COLUMNS - indent.length);
    const [first = "", ...more] = fits(left) ? lines : ["", ...lines];
    return [`  ${left.padEnd(width)}  ${first}`.trimEnd(), ...more.map((line) => indent + line)];
  });
}

/** Words in lines of at most `width`; what stands in square brackets stays together. */
function wrapped(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.match(/\[[^\]]*\]|\S+/g) ?? []) {
    const line = lines.at(-1) ?? "";
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
