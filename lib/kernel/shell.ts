/**
 * shell: a sandbox for a person, and the way into it from further terminals.
 *
 * No file says where the sandbox is, so none can be left behind: its first process carries a mark among the words of its
 * command line, and /proc is searched for that.
 */
import { readFileSync } from "node:fs";
import { allPids, commandLine, diesWithParent, isOurs } from "./process.ts";
import { networkNamespace, SANDBOX_VARIABLE } from "./sandbox.ts";
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

/** The command line that runs `argv` inside the sandbox of `pid`, in the present folder. Throws NeedsError without the tool for it. */
export function joinCommand(pid: number, argv: readonly string[]): readonly string[] {
  needTool("nsenter", "util-linux");
  const environment = [`${SANDBOX_VARIABLE}=${networkNamespace(pid)}`, `PATH=${searchPath()}`];
  return [
    ...["nsenter", `--target=${pid}`, ...userNamespaceFlags(pid)],
    ...["--mount", "--net", "--pid", `--wd=${process.cwd()}`, "--"],
    // nsenter waits for its child, and would leave it behind when it is killed.
    ...diesWithParent(["env", ...environment, ...argv]),
  ];
}

/** Without --preserve-credentials nsenter tries to become uid 0, which the sandbox does not have. */
function userNamespaceFlags(pid: number): readonly string[] {
  const same =
    readFileSync(`/proc/${pid}/uid_map`, "latin1") === readFileSync("/proc/self/uid_map", "latin1");
  return same ? [] : ["--user", "--preserve-credentials"];
}
