/**
 * shell: a sandbox for a person, and the way into it from further terminals.
 *
 * No file says where the sandbox is, so none can be left behind: its first process carries a mark among the words of its
 * command line, and /proc is searched for that.
 */
import { readFileSync } from "node:fs";
import { NeedsError } from "./errors.ts";
import { allPids, commandLine, diesWithParent, isOurs } from "./process.ts";
import {
  firstThatEnters,
  networkNamespace,
  SANDBOX_VARIABLE,
  WAYS_INTO_USER_NAMESPACE,
} from "./sandbox.ts";
import { needTool, searchPath } from "./tools.ts";

/** The mark: the first argument of a sandbox shell's first program. Whatever makes the sandbox carries it further behind. */
export const SHELL_MARK = "--tcp-failure-lab-shell";

/** The pid of the first process of this user's sandbox shell, as seen from outside; undefined when there is none. */
export function findShell(): number | undefined {
  const own = networkNamespace();
  return allPids().find(
    (pid) => commandLine(pid)[2] === SHELL_MARK && isOurs(pid) && isElsewhere(pid, own),
  );
}

/** Seen from within, it has the pid 1. */
function isElsewhere(pid: number, own: string): boolean {
  try {
    const isFirst = /^NSpid:\t\d+(\t\d+)*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
    return isFirst && networkNamespace(pid) !== own;
  } catch {
    return false;
  }
}

/** How to run a command inside a sandbox. */
export type Join = {
  readonly argv: readonly string[];
  /** Without them no parameter can be changed, no packet captured and no process looked into. */
  readonly hasCapabilities: boolean;
};

/**
 * How to run `argv` inside the sandbox of `pid`, in the present folder. Rejects with a NeedsError without the tool for it, or when the
 * sandbox may not be entered, or has ended.
 */
export async function joinCommand(pid: number, argv: readonly string[]): Promise<Join> {
  needTool("nsenter", "util-linux");
  const environment = [`${SANDBOX_VARIABLE}=${networkNamespace(pid)}`, `PATH=${searchPath()}`];
  const rest = ["--mount", "--net", "--pid", `--wd=${process.cwd()}`];
  const users = isInUserNamespaceOf(pid) ? [[]] : WAYS_INTO_USER_NAMESPACE;
  const way = await firstThatEnters(
    pid,
    users.map((flags) => [...flags, ...rest]),
  );
  if (way === undefined) throw new NeedsError(`the sandbox of process ${pid} cannot be entered`);
  return {
    // nsenter waits for its child, and would leave it behind when it is killed.
    argv: [...way, ...diesWithParent(["env", ...environment, ...argv])],
    hasCapabilities: !way.includes("--user") || way.includes("--keep-caps"),
  };
}

function isInUserNamespaceOf(pid: number): boolean {
  const [its, own] = [pid, "self"].map((who) => readFileSync(`/proc/${who}/uid_map`, "latin1"));
  return its === own;
}
