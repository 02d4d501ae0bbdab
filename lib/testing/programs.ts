/** programs: starts our executables for tests, as a user would, and waits for conditions instead of for time. */
import { spawn, type ChildProcess } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as pauseMs } from "node:timers/promises";
import { expect } from "vitest";
import { isStopped } from "../kernel/process.ts";

/** The built executables. */
export const DIST = join(import.meta.dirname, "../../dist");

/** What a finished program has left. */
export type Finished = {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** How to start one. */
export type StartOptions = {
  readonly env?: Readonly<Record<string, string>>;
  /** Words before it, such as `prlimit --nofile=64:64`. */
  readonly through?: readonly string[];
  readonly input?: string;
};

/** A program under way. */
export type Started = {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly finished: Promise<Finished>;
  /** What it has written so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
};

const started = new Set<ChildProcess>();

/** Starts `node dist/cmd/NAME.js FLAGS`. */
export function start(
  name: string,
  flags: readonly string[] = [],
  options: StartOptions = {},
): Started {
  const argv = [
    ...(options.through ?? []),
    process.execPath,
    join(DIST, "cmd", `${name}.js`),
    ...flags,
  ];
  const [file = "", ...args] = argv;
  const env = { ...process.env, NO_COLOR: "1", ...options.env };
  const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  started.add(child);
  child.stdin.on("error", () => undefined).end(options.input ?? "");
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.stderr += chunk.toString()));
  const finished = new Promise<Finished>((resolve) => {
    child.on("close", (code, signal) => {
      started.delete(child);
      resolve({ code, signal, ...text });
    });
  });
  return {
    child,
    pid: child.pid ?? 0,
    finished,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
  };
}

/** Runs a program to its end. */
export function run(
  name: string,
  flags: readonly string[] = [],
  options?: StartOptions,
): Promise<Finished> {
  return start(name, flags, options).finished;
}

/** Ends whatever a test has left running. */
export function killAll(): void {
  for (const child of started) child.kill("SIGKILL");
}

/** Reads until a condition holds; fails the test, with the last reading, when it does not within the deadline. */
export async function until<T>(
  read: () => T | Promise<T>,
  holds: (value: T) => boolean,
  deadlineMs = 10_000,
): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() > endMs)
      expect.fail(`not reached in ${deadlineMs} ms; last: ${JSON.stringify(value)}`);
    await pauseMs(20);
  }
}

/** A server of ours on a port that the kernel chose. */
export type TestServer = Started & { readonly port: number };

/** Starts a server with `--json` on a free port and waits until it listens. */
export async function startServer(
  flags: readonly string[] = [],
  options?: StartOptions,
): Promise<TestServer> {
  const server = start("server", ["--port", "0", "--json", ...flags], options);
  const line = await until(
    () => server.stdout().split("\n")[0] ?? "",
    (text) => text.endsWith("}"),
  );
  const { port } = JSON.parse(line) as { port: number };
  return { ...server, port };
}

/** Stops a program (SIGSTOP), and waits until it has stopped: kill(2) returns before that, and on a busy machine it may answer once more. */
export async function suspend({ child, pid }: Started): Promise<void> {
  child.kill("SIGSTOP");
  await until(
    () => isStopped(pid),
    (hasStopped) => hasStopped,
  );
}

/** The last line of a program's stdout, parsed. */
export function lastJson(finished: Finished): Record<string, unknown> {
  return JSON.parse(finished.stdout.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
}

/** A port on which nobody listens, at least just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
