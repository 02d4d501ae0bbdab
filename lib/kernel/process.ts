/** process: what /proc tells about one process: descriptors, limits, memory, threads. Source: proc(5), getrlimit(2). */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { constants } from "node:os";
import { NeedsError } from "./errors.ts";
import { needTool } from "./tools.ts";

/** Which process: its pid, or this one. */
export type Pid = number | "self";

/**
 * How many descriptors a process has open. Since Linux 6.2 the size of /proc/PID/fd says so and no descriptor is needed to
 * ask; before that the folder is listed. Throws ENOENT or EACCES for a process that is gone or another user's, EMFILE
 * when this process has no descriptor left to list with.
 */
export function openDescriptors(pid: Pid = "self"): number {
  const path = `/proc/${pid}/fd`;
  const { size } = statSync(path);
  if (size > 0) return size;
  const listed = readdirSync(path).length;
  return pid === "self" ? listed - 1 : listed;
}

/**
 * How many descriptors can still be made under `limit`. RLIMIT_NOFILE does not count descriptors: it is one more than the highest
 * number that a new one may get. One that was inherited with a higher number takes no room. Source: getrlimit(2).
 */
export function freeDescriptors(pid: Pid, limit: number): number {
  const numbers = readdirSync(`/proc/${pid}/fd`).filter((number) => Number(number) < limit);
  const toList = pid === "self" ? 1 : 0;
  return limit - numbers.length + toList;
}

/** A soft limit and the hard limit that it may be raised to. */
export type Limit = { readonly soft: number; readonly hard: number };

/** The limit on open descriptors (RLIMIT_NOFILE). */
export function descriptorLimit(pid: Pid = "self"): Limit {
  return parseLimit(readFileSync(`/proc/${pid}/limits`, "latin1"), "Max open files");
}

/** One row of the text of /proc/PID/limits; `unlimited` is Infinity. Throws a RangeError when the row is missing. */
export function parseLimit(text: string, row: string): Limit {
  const line = text.split("\n").find((candidate) => candidate.startsWith(row));
  if (line === undefined) throw new RangeError(`/proc/PID/limits has no row "${row}"`);
  const [soft = NaN, hard = NaN] = line
    .slice(row.length)
    .trim()
    .split(/\s+/)
    .map((word) => (word === "unlimited" ? Infinity : Number(word)));
  return { soft, hard };
}

/** Memory and threads of a process. */
export type ProcessStatus = { readonly threads: number; readonly rssBytes: number };

/** Reads /proc/PID/status. Throws ENOENT for a process that is gone; one that nobody has waited for yet has 0 bytes. */
export function processStatus(pid: Pid = "self"): ProcessStatus {
  const text = readFileSync(`/proc/${pid}/status`, "latin1");
  const value = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  return { threads: value("Threads"), rssBytes: value("VmRSS") * 1024 };
}

/** Whether a process has stopped (SIGSTOP, SIGTSTP). Throws ENOENT for one that is gone. Source: State in /proc/PID/status. */
export function isStopped(pid: number): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
}

/** The inodes of the sockets that a process has open: they join its descriptors with the socket table. */
export function socketInodes(pid: Pid): ReadonlySet<number> {
  const inodes = new Set<number>();
  for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
    const inode = socketInode(`/proc/${pid}/fd/${descriptor}`);
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

function socketInode(path: string): number | undefined {
  try {
    return inodeOfSocket(readlinkSync(path));
  } catch {
    return undefined; // Closed since it was listed.
  }
}

/** The inode in the target of a descriptor, `socket:[4711]`; undefined when it is no socket. */
export function inodeOfSocket(target: string): number | undefined {
  const digits = /^socket:\[(\d+)\]$/.exec(target)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The pids of all processes visible here. */
export function allPids(): readonly number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
}

/** The words a process was started with; none when it is gone. */
export function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
  } catch {
    return [];
  }
}

/**
 * The command line of a program that is killed when its parent dies, even when that is killed with SIGKILL: PR_SET_PDEATHSIG in
 * prctl(2). Throws NeedsError without setpriv.
 */
export function diesWithParent(argv: readonly string[]): readonly string[] {
  needTool("setpriv", "util-linux");
  return ["setpriv", "--pdeathsig", "KILL", "--", ...argv];
}

/** Sends a signal to a process; nothing happens when it has ended. Throws EPERM for somebody else's. */
export function signalled(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** How a child has ended, as a shell has it: its exit code, or 128 + n when signal n has ended it; 1 when it was not even started. */
export function exitCodeOf(child: {
  readonly exitCode?: number | null | undefined;
  readonly signal?: NodeJS.Signals | null | undefined;
}): number {
  const { exitCode, signal } = child;
  return exitCode ?? (signal ? 128 + constants.signals[signal] : 1);
}

/** Why a process could not be looked into, for its user; what is none of these comes back as it is. */
export function processTrouble(pid: number, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" && !isHidden(pid)) return new NeedsError(`there is no process ${pid}`);
  if (code === "EACCES" && isOurs(pid))
    return new NeedsError(
      `process ${pid} may do more than this shell; a shell that has joined a sandbox looks from its first one`,
    );
  if (code === "EACCES" || code === "ENOENT")
    return new NeedsError(`process ${pid} belongs to somebody else; try as root, or as its user`);
  return error;
}

/** Does a process run as this user? It may be closed to us all the same, when it has capabilities that we lack (ptrace(2), access mode checking). */
export function isOurs(pid: number): boolean {
  try {
    const uids = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    return Number(uids?.[1]) === process.getuid?.();
  } catch {
    return false; // Gone, or hidden.
  }
}

/** Who traces a process with ptrace(2), of which there can be only one; undefined when nobody does, or it is gone. */
export function tracerOf(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const tracer = Number(/^TracerPid:\s+(\d+)/m.exec(status)?.[1]);
    return tracer > 0 ? tracer : undefined;
  } catch {
    return undefined;
  }
}

/** Where /proc is mounted with hidepid a process of somebody else has no folder in it, but no signal may be sent to it either. */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  return false;
}

/** The process that has a socket open, by the socket's inode; undefined when it is not visible to this user. */
export function ownerOfSocket(inode: number): number | undefined {
  return allPids().find((pid) => {
    try {
      return socketInodes(pid).has(inode);
    } catch {
      return false; // Another user's, or gone.
    }
  });
}

/**
 * Sets the descriptor limit of a running process of this user, as prlimit(1) does. Raising the hard limit needs
 * CAP_SYS_RESOURCE on the machine itself; below it everything is allowed. Rejects with what prlimit says.
 */
export async function setDescriptorLimit(pid: number, { soft, hard }: Limit): Promise<void> {
  const { execa } = await import("execa");
  await execa("prlimit", [`--pid=${pid}`, `--nofile=${soft}:${hard}`]);
}
