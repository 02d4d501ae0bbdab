/**
 * program: our executables, started the way a user would: in processes of their own.
 */
import type { Readable } from "node:stream";
import { execa } from "execa";
import { builtCommand, builtEnvironment } from "../kernel/built.ts";
import { NeedsError } from "../kernel/errors.ts";
import { diesWithParent, signalled } from "../kernel/process.ts";

/** The executables that labs start. */
export type ProgramName = "server" | "client" | "bomb" | "multiplex";

/** How a program is started. */
export type ProgramOptions = {
  /** Words before it, such as `prlimit --nofile=128:128`; each has to exec what follows, so that the pid stays. */
  readonly through?: readonly string[];
  /** Variables for it, such as PORT. */
  readonly env?: Readonly<Record<string, string>>;
};

/** The command line of a part of this room that runs as a program of its own. */
export function partCommand(name: "arm-main" | "shell-main"): readonly string[] {
  return builtCommand(`lib/lab/${name}`);
}

/** A program under way. */
export type Running = {
  readonly name: ProgramName;
  readonly pid: number;
  /** The first line that it prints to stdout, parsed; undefined when it ends without one. */
  readonly first: Promise<unknown>;
  /** Its last line, at its end. Rejects with what it said when it refused to run (exit code 2) or failed (70). */
  readonly end: Promise<unknown>;
  /** All that it, or a tracer before it, wrote to stderr. */
  readonly said: Promise<string>;
  readonly kill: (signal?: NodeJS.Signals) => void;
};

/** Starts a program with `--json`. It is killed when this process ends. */
export function startProgram(
  name: ProgramName,
  flags: readonly string[],
  options: ProgramOptions = {},
): Running {
  const argv = [...(options.through ?? []), ...builtCommand(`cmd/${name}`), ...flags, "--json"];
  const [file = "", ...args] = diesWithParent(argv);
  const child = execa(file, args, {
    ...OURS,
    env: { ...builtEnvironment(), ...options.env },
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  if (child.pid === undefined) throw new NeedsError(NOT_STARTED);
  const end = child.then(({ stdout, stderr, exitCode }) => {
    if (exitCode === 2 || exitCode === 70) throw new Error(`${name} ${flags.join(" ")}: ${stderr}`);
    return lastLine(stdout);
  });
  end.catch(() => undefined); // Whoever never asks for the end does not want to hear of it.
  return {
    name,
    pid: child.pid,
    first: firstLine(child.stdout, child),
    end,
    said: child.then(({ stderr }) => stderr),
    kill: (signal = "SIGTERM") => child.kill(signal),
  };
}

/**
 * They die with their parent by themselves. execa's own `cleanup` signals whatever the handle says at our exit, and the handle of a
 * program that could not be started says anything: for libuv its process is undefined memory, such as 0, our whole process group.
 */
const OURS = { reject: false, stdin: "ignore", cleanup: false } as const;

const NOT_STARTED =
  "setpriv (package util-linux) did not start: are there too many processes (ulimit -u)?";

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

function lastLine(text: string): unknown {
  const line = text.trimEnd().split("\n").at(-1) ?? "";
  return line === "" ? undefined : JSON.parse(line);
}

function firstLine(stdout: Readable, end: Promise<unknown>): Promise<unknown> {
  return new Promise((resolve) => {
    let text = "";
    stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const length = text.indexOf("\n");
      if (length >= 0) resolve(JSON.parse(text.slice(0, length)));
    });
    void end.then(() => resolve(undefined));
  });
}

/** Runs a program with `--json` to its end and returns what it printed: one object. Rejects as `Running.end` does. */
export async function runProgram<T>(
  name: ProgramName,
  flags: readonly string[],
  options?: ProgramOptions,
): Promise<T> {
  return (await startProgram(name, flags, options).end) as T;
}

/** A program that is none of our executables. */
export type Script = {
  readonly pid: number;
  /** The first line that it printed. */
  readonly first: string;
  /** The next line that it prints. */
  readonly next: () => Promise<string>;
  readonly end: Promise<unknown>;
  readonly kill: (signal?: NodeJS.Signals) => void;
};

/** Starts a program and waits for its first line, or its end; what it writes to stderr is ours. Killed when this process ends. */
export async function startScript(argv: readonly string[]): Promise<Script> {
  const [file = "", ...args] = diesWithParent(argv);
  const child = execa(file, args, {
    ...OURS,
    stderr: "inherit",
  });
  if (child.pid === undefined) throw new NeedsError(NOT_STARTED);
  const lines = child.iterable();
  const next = async (): Promise<string> =>
    ((await lines.next()).value as string | undefined) ?? "";
  return {
    pid: child.pid,
    first: await next(),
    next,
    end: child,
    kill: (signal = "SIGTERM") => child.kill(signal),
  };
}

/** A server that listens. */
export type RunningServer = {
  readonly pid: number;
  readonly port: number;
  /** Ends it with SIGTERM and returns its own summary. */
  readonly stop: () => Promise<ServerSummary>;
  /** All that it, or a tracer before it, wrote to stderr; known when it has ended. */
  readonly said: Promise<string>;
};

/** What the server executable prints at its end. */
export type ServerSummary = {
  readonly accepted: number;
  readonly open: number;
  readonly closeWait: number;
  readonly passiveOpens: number;
  readonly queued: number;
  readonly wasExhausted: boolean;
  readonly shed: number;
};

/** A server listens long before that, or never: where threads are short (RLIMIT_NPROC) Node may hang at its start. */
const START_DEADLINE_MS = 30_000;

/** Starts a server and waits until it listens. Rejects with what it says instead, such as EADDRINUSE. */
export async function startServer(
  flags: readonly string[],
  options?: ProgramOptions,
): Promise<RunningServer> {
  const program = startProgram("server", flags, options);
  let said = "";
  const late = setTimeout(() => {
    said = `killed, for it had said nothing for ${START_DEADLINE_MS} ms`;
    program.kill("SIGKILL");
  }, START_DEADLINE_MS);
  const listening = (await program.first) as { pid: number; port: number } | undefined;
  clearTimeout(late);
  if (listening === undefined) {
    await program.end;
    said ||= (await program.said).trimEnd().split("\n").at(-1) ?? "";
    throw new Error(`server ${flags.join(" ")} ended before it listened: ${said}`);
  }
  const stop = async (): Promise<ServerSummary> => {
    // One that a lab has stopped would never see the first without the second. A Ctrl-C at our terminal may have ended it before.
    for (const signal of ["SIGTERM", "SIGCONT"] as const) signalled(listening.pid, signal);
    return (await program.end) as ServerSummary;
  };
  return { ...listening, stop, said: program.said };
}
