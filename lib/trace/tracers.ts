/** tracers: strace and tcpdump as child processes. Nothing is written to a file: both write into pipes. */
import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { builtEnvironment } from "../kernel/built.ts";
import { NeedsError } from "../kernel/errors.ts";
import {
  allPids,
  commandLine,
  diesWithParent,
  exitCodeOf,
  signalled,
  tracerOf,
} from "../kernel/process.ts";
import { caughtUp, withoutMark } from "./capture-end.ts";
import type { Traced } from "./order.ts";
import { programOf } from "./scenarios.ts";

/** All calls about sockets, and those that tell which descriptor is which. */
const CALLS = [
  "%network",
  ...["read", "write", "readv", "writev", "sendfile", "close", "dup", "dup2", "dup3"],
  ...[
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "poll",
    "ppoll",
    "select",
    "pselect6",
  ],
  ...["clone", "clone3", "fork", "vfork"],
].join(",");

/** A question mark: a machine that does not have the call (arm64 has no poll) is no reason to stop. */
const STRACE_FLAGS = [
  ...["-f", "-yy", "-s", "48"],
  ...["--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"],
  ...["-e", `trace=${CALLS.replaceAll(",", ",?")}`],
  // A process never sees this signal, so it interrupts nothing; but only whoever asks for it is told that one was killed.
  ...["-e", "signal=KILL"],
] as const;

/**
 * A Ctrl-C at a terminal, or timeout(1), signals the whole process group; strace still has to write what it knows, and the reader of
 * that stays for as long as there is a strace.
 */
const INTO_PIPE = "|trap '' INT TERM HUP; exec cat >&3";

/** A traced program under way. */
export type Tracing = {
  readonly child: ChildProcess;
  /** Resolves when the program has ended, or strace was told to leave it. Rejects with a NeedsError when strace may not trace at all. */
  readonly traced: Promise<Traced>;
};

/** What to trace. */
export type TraceTarget = {
  readonly role: Traced["role"];
  /** As a user would type it. */
  readonly shown: string;
} & (
  | { readonly argv: readonly string[]; readonly isUsers: boolean }
  | { readonly pid: number; readonly through: readonly string[] }
);

/** Starts strace. What the user's own command prints goes to stderr; stdout is for the table. */
export function startStrace(target: TraceTarget): Tracing {
  // --seccomp-bpf stops a program only at the calls that are asked for, so that the others cost nothing.
  const what =
    "pid" in target ? ["-p", `${target.pid}`] : ["--seccomp-bpf", ...diesWithParent(target.argv)];
  const isUsers = "argv" in target && target.isUsers;
  const through = "through" in target ? target.through : [];
  const words = [...STRACE_FLAGS, "-o", INTO_PIPE, ...what];
  const child = spawnThatDiesWithUs([...through, "strace", ...words], {
    stdio: [isUsers ? "inherit" : "ignore", isUsers ? 2 : "pipe", isUsers ? 2 : "pipe", "pipe"],
    ...(isUsers ? { env: process.env } : {}),
  });
  child.once("exit", () => {
    // The child may stop itself a moment later.
    const timer = setInterval(() => endOrphans(words), 20);
    child.once("close", () => clearInterval(timer));
  });
  const text = Promise.all([
    textOf(child.stdio[3] as Readable),
    child.stdout === null ? "" : textOf(child.stdout),
    child.stderr === null ? "" : textOf(child.stderr),
  ]);
  const traced = Promise.all([text, ended(child)]).then(([[strace, stdout, stderr], exitCode]) => {
    // Of a program that it has traced strace tells at least the end.
    if ("argv" in target && strace === "") throw cannotTrace(stderr);
    return {
      ...{ role: target.role, command: target.shown, strace, exitCode },
      output: stdout + stderr,
    };
  });
  traced.catch(() => undefined); // Whoever waits for something else first asks later.
  return { child, traced };
}

/** How a child has ended, told when its pipes are closed, too. strace ends as the program did that it traces. */
function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve) =>
    child.on("close", (exitCode, signal) => resolve(exitCodeOf({ exitCode, signal }))),
  );
}

function cannotTrace(said: string): NeedsError {
  const why = said === "" ? "" : `: ${said.split("\n", 1).join("")}`;
  return new NeedsError(
    `strace cannot trace here${why}\n  ptrace(2) may be forbidden: by seccomp, as in a container, or by kernel.yama.ptrace_scope = 3.`,
  );
}

/**
 * A strace that a Ctrl-C at a terminal ends in the middle of its own tests leaves the child for these behind, stopped, and with its pipes
 * open. The child has the command line of its parent.
 */
function endOrphans(words: readonly string[]): void {
  const isOne = (pid: number): boolean =>
    commandLine(pid).slice(-words.length).join("\0") === words.join("\0");
  for (const pid of allPids().filter(isOne)) {
    const status = statusOf(pid);
    const isStopped = /^State:\tT/m.test(status);
    const [, parent] = /^PPid:\t(\d+)$/m.exec(status) ?? [];
    if (isStopped && !isOne(Number(parent))) signalled(pid, "SIGKILL");
  }
}

/** Empty when it has ended. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return "";
  }
}

/** Starts a program of ours without strace. */
export function startPlain(role: Traced["role"], words: readonly string[]): Tracing {
  const child = spawnThatDiesWithUs(programOf(words), { stdio: ["ignore", "pipe", "inherit"] });
  const output = child.stdout === null ? "" : textOf(child.stdout);
  const traced = Promise.all([output, ended(child)]).then(([output, exitCode]) => ({
    ...{ role, command: words.join(" "), strace: "", output, exitCode },
  }));
  return { child, traced };
}

/** Ends the programs that a strace traces: they get SIGTERM, and strace ends with them. */
export async function endTraced({ child }: Tracing): Promise<void> {
  for (const pid of await joined(child)) signalled(pid, "SIGTERM");
}

/** Has strace leave what it traces, and end. */
export async function leaveTraced({ child }: Tracing): Promise<void> {
  await joined(child);
  child.kill("SIGINT");
}

/**
 * What a strace traces, as soon as it does; nothing when it has ended. Told to stop before that it would die in the middle of its own
 * tests, whose children stay behind and keep its pipes open.
 */
async function joined(child: ChildProcess): Promise<readonly number[]> {
  while (!hasEnded(child)) {
    const pids = traceesOf(child.pid ?? 0);
    if (pids.length > 0) return pids;
    await pause(5);
  }
  return [];
}

/** Those that have its own command line, or none any more, are children for its tests, or about to become what it traces. */
function traceesOf(strace: number): readonly number[] {
  const notYet = ["", commandLine(strace).join(" ")];
  return allPids().filter(
    (pid) => tracerOf(pid) === strace && !notYet.includes(commandLine(pid).join(" ")),
  );
}

/** A capture under way. */
export type Capture = {
  /** Resolves with the file, or undefined where there is none; and why, or why it may not be whole: "" when it is. */
  readonly stop: () => Promise<{ readonly pcap: Buffer | undefined; readonly why: string }>;
};

/** Starts tcpdump on an interface, behind the words that lead into its network, and waits until it listens, or has given up. */
export async function startTcpdump(
  interfaceName: string,
  through: readonly string[] = [],
): Promise<Capture> {
  const child = spawnThatDiesWithUs(
    [
      ...[...through, "tcpdump", "-i", interfaceName, "-U", "--immediate-mode", "-w", "-"],
      ...["-s", "256", "--time-stamp-precision=nano", "-c", `${MAX_PACKETS}`, "tcp or udp"],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const chunks: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  let said = "";
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const listening = new Promise<void>((resolve) => {
    child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("listening on")) resolve();
    });
  });
  await Promise.race([ended, listening]);
  return {
    stop: async () => {
      const isThere = said.includes("listening on");
      if (isThere && !hasEnded(child)) await caughtUp(() => Buffer.concat(chunks));
      child.kill("SIGINT");
      await ended;
      if (!isThere) return { pcap: undefined, why: said.trim() };
      return { pcap: withoutMark(Buffer.concat(chunks)), why: whyCut(child, said) };
    },
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** At a Ctrl-C at a terminal tcpdump may end before it is told to, but with all that it had. */
function whyCut({ signalCode }: ChildProcess, said: string): string {
  const [, dropped = "0"] = /^(\d+) packets? dropped by kernel$/m.exec(said) ?? [];
  if (signalCode !== null) return `tcpdump was ended by ${signalCode}`;
  if (said.includes(`${MAX_PACKETS} packets captured`))
    return `tcpdump stops after ${MAX_PACKETS.toLocaleString("en-US")}, whosever they are`;
  return dropped === "0" ? "" : `${dropped} came faster than tcpdump reads`;
}

/** Enough for thousands of connections, and a bound for a busy machine. */
const MAX_PACKETS = 200_000;

/** What tcpdump says of a capture file. */
export async function readPcap(pcap: Buffer): Promise<string> {
  const argv = ["tcpdump", "-r", "-", "-tt", "-nn", "-S", "-vv", "--time-stamp-precision=nano"];
  const child = spawnThatDiesWithUs(argv, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin?.on("error", () => undefined).end(pcap);
  return child.stdout === null ? "" : textOf(child.stdout);
}

/** Nothing survives whoever started it; and no variable of the user's reaches it, unless `options` say so. */
export function spawnThatDiesWithUs(argv: readonly string[], options: SpawnOptions): ChildProcess {
  const [file = "", ...args] = diesWithParent(argv);
  return spawn(file, args, { env: builtEnvironment(), ...options });
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
