/**
 * main: from the words of a command line to an exit code.
 *
 * Every executable is a `Command`, or several under one name (`lab run`, `lab list`). Exit codes: 0 fine; 1 a claim or a
 * check failed; 2 wrong usage or an unmet need; 70 a defect of ours; 128 + n ended by signal n (130 is Ctrl-C).
 */
import { accessSync, constants, readFileSync } from "node:fs";
import type { Argv } from "yargs";
import {
  checkedValues,
  FlagError,
  flagOrVariable,
  yargsOption,
  type Flags,
  type Values,
} from "./flags.ts";
import { columns, EXIT_CODES, helpText, type Helpful } from "./help.ts";
import { processIo, SIGNALS, type Io } from "./io.ts";

/** What yargs found on a command line, unchecked. */
type Given = Record<string, unknown> & { _: (string | number)[] };

/** One command: a flag table, examples for the help, and what to do. */
export type Command<F extends Flags> = Helpful & {
  readonly flags: F;
  /** Further flags, known only from the other words. Asked for when there is a flag that is not in the table, and for the help. */
  readonly more?: (words: readonly string[], given: Given) => Promise<Flags>;
  /** `more` has the values of further flags that were given. */
  readonly run: (
    values: Values<F>,
    io: Io,
    words: readonly string[],
    more: Readonly<Record<string, unknown>>,
  ) => Promise<number>;
};

/** A command as seen from outside, its flag types forgotten. */
export type AnyCommand = {
  readonly name: string;
  readonly summary: string;
  readonly main: (argv: readonly string[], io: Io) => Promise<number>;
};

/** Several commands under one name: the first word chooses. */
export type CommandGroup = {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly AnyCommand[];
  /** What runs when the first word names none of them. */
  readonly otherwise?: AnyCommand;
};

/** Wrong usage. `code` is stable; the message says what, and what next. */
export class UsageError extends Error {
  override name = "UsageError";
  readonly code = "TFL_USAGE";
}

/** Makes a command runnable. */
export function command<F extends Flags>(command: Command<F>): AnyCommand {
  return {
    name: command.name,
    summary: command.summary,
    main: (argv, io) => runCommand(command, argv, io),
  };
}

/** Runs a command, or the one of a group that the first word names, on this process; never returns. */
export async function main(program: AnyCommand | CommandGroup): Promise<never> {
  const io = processIo(program.name);
  leaveForbiddenFolder(program.name, io);
  const argv = process.argv.slice(2);
  // A socket in CLOSE_WAIT that nobody reads is idle for libuv: on its own it would let the process end.
  setInterval(() => undefined, 2 ** 31 - 1);
  const code = await (
    "commands" in program ? runGroup(program, argv, io) : program.main(argv, io)
  ).catch((error: unknown) => interruption(error) ?? explain(program.name, error, io));
  // A pipe takes what it has room for; exit would throw the rest of a long JSON away. Whoever reads may have stopped, for ever: now
  // there is nothing left to sum up, and one Ctrl-C is enough.
  const written = Promise.all([process.stdout, process.stderr].map(flushed));
  const stopped = new Promise((resolve) => io.signal.addEventListener("abort", resolve));
  await Promise.race([written, stopped]);
  process.exit(io.interruption() ?? code);
}

/** What is started from here begins in the present folder; where this user may not enter that, as with `sudo -u www-data` in /root, nothing would. */
function leaveForbiddenFolder(name: string, io: Io): void {
  try {
    accessSync(".", constants.X_OK);
  } catch {
    process.chdir("/");
    io.err(`${name}: this user may not enter the folder in which this was started: goes on in /`);
  }
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

async function runGroup(group: CommandGroup, argv: readonly string[], io: Io): Promise<number> {
  const [verb, ...rest] = argv;
  const { otherwise } = group;
  const chosen = group.commands.find((command) => command.name.split(" ")[1] === verb);
  if (chosen === undefined && otherwise !== undefined) return otherwise.main(argv, io);
  if (verb === undefined || verb === "--help" || verb === "help") {
    io.out(groupHelp(group));
    return verb === undefined ? 2 : 0;
  }
  if (verb === "--version") return printVersion(io);
  const verbs = group.commands.map((command) => command.name.split(" ")[1]).join(", ");
  if (chosen === undefined)
    throw new UsageError(`unknown command ${JSON.stringify(verb)}; there are: ${verbs}`);
  return chosen.main(rest, io);
}

/** The help of a group: one line for each command. */
export function groupHelp(group: CommandGroup): string {
  return [
    `${group.name}: ${group.summary}`,
    "",
    ...columns(group.commands.map(({ name, summary }) => [name, summary])),
    "",
    `${group.name} COMMAND --help tells more.`,
    EXIT_CODES,
  ].join("\n");
}

async function runCommand<F extends Flags>(
  command: Command<F>,
  argv: readonly string[],
  io: Io,
): Promise<number> {
  const before = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined);
  if (before.includes("--help")) {
    const isBare = before.length === 1;
    const more = isBare ? {} : await moreFlags(command, argv);
    io.out(helpText({ ...command, flags: { ...command.flags, ...more } }));
    return 0;
  }
  if (before.includes("--version")) return printVersion(io);
  refuseMisread(command.flags, before);
  const more = await moreFlags(command, argv);
  const given = parse(await parser({ ...command.flags, ...more }), argv);
  const words = given._.map(String);
  if (words.length > 0 && command.words === undefined)
    throw new UsageError(
      `${command.name} takes no words, got ${JSON.stringify(words[0])}; see --help`,
    );
  const asked = Object.entries(more).filter(([name]) => given[name] !== undefined);
  return command.run(
    valuesOf(command.flags, given),
    io,
    words,
    valuesOf(Object.fromEntries(asked), given),
  );
}

/** The further flags of this command line; none when nothing on it needs them. */
async function moreFlags<F extends Flags>(
  command: Command<F>,
  argv: readonly string[],
): Promise<Flags> {
  if (command.more === undefined) return {};
  const known = new Set(
    Object.entries(command.flags).flatMap(([name, { alias }]) => [name, alias ?? name]),
  );
  const given = parse((await parser(command.flags)).strictOptions(false), argv);
  const isHelp = given["help"] === true;
  const strange = Object.keys(given).filter(
    (name) => !["_", "$0", "help"].includes(name) && !known.has(name),
  );
  if (strange.length === 0 && !isHelp) return {};
  const more = await command.more(given._.map(String), given);
  const names = Object.keys(more);
  const twice = names.find((name) => known.has(name));
  if (twice !== undefined) throw new Error(`--${twice} would have two meanings`);
  const unknown = strange.find((name) => !(name in more));
  if (unknown !== undefined && names.length > 0)
    throw new UsageError(
      `unknown flag --${unknown}; here there are: ${names.map((name) => `--${name}`).join(", ")}; see --help`,
    );
  return more;
}

function refuseMisread(flags: Flags, argv: readonly string[]): void {
  const complaint = argv.map((word) => misreading(flags, word)).find((text) => text !== undefined);
  if (complaint !== undefined) throw new UsageError(`${complaint}; see --help`);
}

/** A flag that would have no effect is a mistake of its user's. Throws UsageError when one of these has another value than its default. */
export function refuseFlags(flags: Flags, values: Record<string, unknown>, mode: string): void {
  const given = Object.entries(flags).find(([name, flag]) => values[name] !== flag.default);
  if (given !== undefined)
    throw new UsageError(`${flagOrVariable(...given)} has no meaning with ${mode}; see --help`);
}

/** yargs takes `--leak=banana` for true, `--no-host` for a host named false, and `--_` and `--$0` for names of its own. */
function misreading(flags: Flags, word: string): string | undefined {
  if (/^--?(no-)?[_$]/.test(word)) return `Unknown argument: ${word}`;
  const [, no, name = "", text = "true"] = /^--(no-)?([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
  if (!Object.hasOwn(flags, name)) return undefined;
  const isSwitch = flags[name]?.metavar === undefined;
  if (!isSwitch) return no === undefined ? undefined : `--no-${name}: --${name} is no switch`;
  if (/^(true|false)$/.test(text)) return undefined;
  return `--${name}: expected true or false, got ${JSON.stringify(text)}`;
}

/** yargs throws some of its complaints past `fail`; all of them are about usage. */
function parse(parser: Argv, argv: readonly string[]): Given {
  try {
    return parser.parseSync([...argv]);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${(error as Error).message}; see --help`);
  }
}

/** Loaded only when there is something to parse: it takes as long to load as Node takes to start. */
async function parser(flags: Flags): Promise<Argv> {
  const { default: yargs } = await import("yargs");
  const options = Object.entries(flags).map(([name, flag]) => [name, yargsOption(flag)]);
  return yargs()
    .help(false)
    .version(false)
    .options(Object.fromEntries(options))
    .parserConfiguration({
      "duplicate-arguments-array": false,
      "camel-case-expansion": false,
      "dot-notation": false,
      "parse-positional-numbers": false,
      "strip-dashed": false,
    })
    .strictOptions()
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string) => {
      throw new UsageError(`${message.replaceAll("\n", " ")}; see --help`);
    });
}

function valuesOf<F extends Flags>(flags: F, given: Given): Values<F> {
  try {
    return checkedValues(flags, given, process.env);
  } catch (error) {
    if (error instanceof FlagError) throw new UsageError(`${error.message}; see --help`);
    throw error;
  }
}

function printVersion(io: Io): number {
  io.out(packageVersion());
  return 0;
}

/** The version in package.json, found upwards from here: sources and dist lie at different depths. */
function packageVersion(): string {
  for (const up of ["../..", "../../.."]) {
    try {
      const text = readFileSync(new URL(`${up}/package.json`, import.meta.url), "utf8");
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      // Not at this depth.
    }
  }
  return "unknown";
}

/**
 * A Ctrl-C ends what we have started, too, and that may be known here before the Ctrl-C itself: Node blocks signals while it starts a
 * program, and then another thread has to take them. So whoever blames a program that ended gives its `signal` in the error's `cause`.
 */
function interruption(error: unknown): number | undefined {
  const { signal } = ((error as Error).cause ?? {}) as { readonly signal?: string };
  return SIGNALS[signal ?? ""];
}

/** What to do about refusals of the operating system that its own words do not tell. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  EMFILE:
    "\n  The descriptor limit is too low even for the program's own files: ulimit -n 256, or a new shell.",
};

/**
 * Says what went wrong and returns the exit code. Errors with a stable `TFL_` code and refusals of the operating system
 * are the user's to act on: 2. Anything else is a defect of ours and shows its stack: 70.
 */
function explain(name: string, error: unknown, io: Io): number {
  const { code, message, stack, syscall } = error as NodeJS.ErrnoException;
  if (syscall === "uv_cwd") {
    io.err(
      `${name}: the folder in which this was started is no longer there; cd to another one [${code}]`,
    );
    return 2;
  }
  // The only names that are looked up are of hosts. Some shells and tools set HOST for purposes of their own.
  const what = syscall === "getaddrinfo" ? "--host, or HOST in the environment: " : "";
  if (typeof code === "string" && /^(TFL_|E[A-Z0-9]+$|EAI_)/.test(code)) {
    io.err(
      `${name}: ${what}${message}${WAYS_OUT[code] ?? ""}${message.includes(code) ? "" : ` [${code}]`}`,
    );
    return 2;
  }
  // Node says so, too, when it had no descriptor left to look into the package's folder.
  if (code === "ERR_MODULE_NOT_FOUND" || code === "ERR_UNSUPPORTED_DIR_IMPORT") {
    io.err(
      `${name}: ${message}\n  Its packages are missing: npm ci. Or the descriptor limit is too low to open them: ulimit -n 256. [TFL_NEEDS]`,
    );
    return 2;
  }
  io.err(`${name}: a defect in this program, please report it.\n${stack ?? String(error)}`);
  return 70;
}
