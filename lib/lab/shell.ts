/**
 * shell: a sandbox for a person, with friendly settings: few ports, and TIME_WAIT that lasts.
 *
 * The first call makes the sandbox; calls from further terminals join it. It ends with the first shell, and everything in it.
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { LIFELINE } from "../kernel/lifeline.ts";
import { exitCodeOf } from "../kernel/process.ts";
import { findRung, RUNGS, sandboxCommand } from "../kernel/sandbox.ts";
import { findShell, joinCommand, SHELL_MARK } from "../kernel/shell.ts";
import { hasTool, searchPath } from "../kernel/tools.ts";
import { partCommand } from "./program.ts";

/** Settings of the sandbox, told to the user when it opens. */
export const FRIENDLY = {
  "net.ipv4.ip_local_port_range": "40000 40999",
  "net.ipv4.tcp_tw_reuse": "0",
} as const;

/** The prompt of Debian's and Ubuntu's bash begins with it, so that one sees which terminal is inside. */
const PROMPT = "debian_chroot=tcp-failure-lab";

/** The part of a command's Io that is needed here. */
type Terminal = {
  readonly err: (text: string) => void;
  readonly leaveSignalsToChild: () => void;
  readonly signal: AbortSignal;
};

/**
 * Runs `words`, or an interactive shell, in the user's sandbox; makes it first where there is none. Alone: in a new one, which nobody
 * joins. Returns its exit code: 127 when there is no such command, 128 + n when signal n has ended it.
 */
export async function enterShell(
  words: readonly string[],
  terminal: Terminal,
  isAlone = false,
): Promise<number> {
  const path = [...shortNames(), searchPath(), ...nodeFolder()].join(":");
  const argv = ["env", `PATH=${path}`, ...(words.length > 0 ? words : [PROMPT, userShell()])];
  const existing = isAlone ? undefined : findShell();
  if (existing !== undefined) {
    const {
      argv: [file = "", ...args],
      hasCapabilities,
    } = await joinCommand(existing, argv);
    terminal.err(
      "lab shell: joining the sandbox that is open. It ends with its first shell." +
        (hasCapabilities ? "" : "\nParameters, tcpdump and a look into processes: only there."),
    );
    terminal.leaveSignalsToChild();
    const code = exitCodeOf(await execa(file, args, { ...attached(terminal), stdio: "inherit" }));
    if (findShell() !== existing)
      terminal.err("lab shell: the sandbox has ended; this is outside of it again.");
    return code;
  }
  const rung = await findRung();
  terminal.err(
    `lab shell: ${RUNGS[rung]}.\n1,000 ports, tcp_tw_reuse=0. exit ends it, and all in it.`,
  );
  if (!isAlone) terminal.err("The same command in further terminals joins it.");
  const mark = isAlone ? "--alone" : SHELL_MARK;
  const main = [...partCommand("shell-main"), mark, ...argv];
  const [file = "", ...args] = sandboxCommand(rung, main);
  const stdio = ["inherit", "inherit", "inherit", "pipe"] as const;
  const child = execa(file, args, { ...attached(terminal), stdio });
  // The kernel keeps signals from the first process of a sandbox until that is ready for them: until then they are ours.
  const lifeline = child.stdio[LIFELINE].once("data", terminal.leaveSignalsToChild);
  terminal.signal.addEventListener("abort", () => lifeline.destroy());
  return exitCodeOf(await child);
}

function attached({ signal: cancelSignal }: Terminal) {
  // A make in there is not the child of the make that may have started this.
  const env = { MAKELEVEL: undefined, MAKEFLAGS: undefined, MFLAGS: undefined };
  // unshare and nsenter leave gentler signals to what they have started.
  return { cancelSignal, killSignal: "SIGKILL", reject: false, env } as const;
}

function userShell(): string {
  const shell = process.env["SHELL"] ?? "";
  return shell === "" ? "/bin/sh" : shell;
}

/** Our programs ask for `node`. Whoever has started this by its path, as with sudo and a Node of their own, has none on the PATH. */
function nodeFolder(): readonly string[] {
  return hasTool("node") ? [] : [dirname(process.execPath)];
}

/** The folder where our programs go by short names (`server`, `bomb`), where there is one: in a clone that was built. */
function shortNames(): readonly string[] {
  const folder = fileURLToPath(new URL("../../bin", import.meta.url));
  return existsSync(folder) ? [folder] : [];
}
