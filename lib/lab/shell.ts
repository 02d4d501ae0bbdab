/**
 * shell: a sandbox for a person, with friendly settings: few ports, and TIME_WAIT that lasts.
 *
 * The first call makes the sandbox; calls from further terminals join it. It ends with the first shell, and everything in it.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { findRung, RUNGS, sandboxCommand } from "../kernel/sandbox.ts";
import { findShell, joinCommand, SHELL_MARK } from "../kernel/shell.ts";
import { partCommand } from "./program.ts";

/** Settings of the sandbox, told to the user when it opens. */
export const FRIENDLY = {
  "net.ipv4.ip_local_port_range": "40000 40999",
  "net.ipv4.tcp_tw_reuse": "0",
} as const;

/** The part of a command's Io that is needed here. */
type Terminal = { readonly err: (text: string) => void; readonly leaveSignalsToChild: () => void };

/**
 * Runs `words`, or an interactive shell, in the user's sandbox; makes it first where there is none. Alone: in a new one, which nobody
 * joins. Returns the exit code.
 */
export async function enterShell(
  words: readonly string[],
  terminal: Terminal,
  isAlone = false,
): Promise<number> {
  const argv = words.length > 0 ? words : [process.env["SHELL"] ?? "/bin/sh"];
  const existing = isAlone ? undefined : findShell();
  terminal.leaveSignalsToChild();
  if (existing !== undefined) {
    terminal.err("lab shell: joining the sandbox that is open. It ends with its first shell.");
    return attached(joinCommand(existing, argv));
  }
  const rung = await findRung();
  terminal.err(`lab shell: ${RUNGS[rung]}: 1,000 ports, tcp_tw_reuse=0.`);
  if (!isAlone)
    terminal.err("make shell in further terminals joins it. exit ends it, and all in it.");
  const mark = isAlone ? "--alone" : SHELL_MARK;
  return attached(sandboxCommand(rung, [...partCommand("shell-main"), mark, ...argv]));
}

async function attached(command: readonly string[]): Promise<number> {
  const [file = "", ...args] = command;
  const env = {
    // A make in there is not the child of the make that may have started this.
    ...{ MAKELEVEL: undefined, MAKEFLAGS: undefined, MFLAGS: undefined },
    PATH: [...shortNames(), process.env["PATH"]].join(":"),
  };
  const { exitCode, signal } = await execa(file, args, { stdio: "inherit", reject: false, env });
  return exitCode ?? (signal === undefined ? 1 : 130);
}

/** The folder where our programs go by short names (`server`, `bomb`), where there is one: in a clone that was built. */
function shortNames(): readonly string[] {
  const folder = fileURLToPath(new URL("../../bin", import.meta.url));
  return existsSync(folder) ? [folder] : [];
}
