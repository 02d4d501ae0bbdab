/**
 * shell: a sandbox for a person, and the way into it from further terminals.
 *
 * No file says where the sandbox is, so none can be left behind: its first process carries a mark among the words of its
 * command line, and /proc is searched for that.
 */
import { readFileSync, statSync } from "node:fs";
import { allPids, commandLine } from "./process.ts";
import { networkNamespace, SANDBOX_VARIABLE } from "./sandbox.ts";

/** The mark: the first process of a sandbox shell has this word on its command line. */
export const SHELL_MARK = "--tcp-failure-lab-shell";

/** The pid of the first process of this user's sandbox shell, as seen from outside; undefined when there is none. */
export function findShell(): number | undefined {
  const own = networkNamespace();
  return allPids().find(
    (pid) => commandLine(pid).includes(SHELL_MARK) && isOurs(pid) && isElsewhere(pid, own),
  );
}

function isOurs(pid: number): boolean {
  try {
    return statSync(`/proc/${pid}`).uid === process.getuid?.();
  } catch {
    return false;
  }
}

/** setpriv and unshare carry the mark too while they wait, but they, or their children, are not in a namespace of their own pids. */
function isElsewhere(pid: number, own: string): boolean {
  try {
    const isFirst = /^NSpid:\t\d+(\t\d+)*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
    return isFirst && networkNamespace(pid) !== own;
  } catch {
    return false;
  }
}

/** The command line that runs `argv` inside the sandbox of `pid`, in the present folder. */
export function joinCommand(pid: number, argv: readonly string[]): readonly string[] {
  return [
    ...["nsenter", `--target=${pid}`, ...userNamespaceFlags(pid)],
    ...["--mount", "--net", "--pid", `--wd=${process.cwd()}`, "--"],
    ...["env", `${SANDBOX_VARIABLE}=${networkNamespace(pid)}`, ...argv],
  ];
}

/** Without --preserve-credentials nsenter tries to become uid 0, which the sandbox does not have. */
function userNamespaceFlags(pid: number): readonly string[] {
  const same =
    readFileSync(`/proc/${pid}/uid_map`, "latin1") === readFileSync("/proc/self/uid_map", "latin1");
  return same ? [] : ["--user", "--preserve-credentials"];
}
