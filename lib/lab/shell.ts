/**
 * shell: a sandbox for a person, with friendly settings: few ports, and TIME_WAIT that lasts.
 *
 * The first call makes the sandbox; calls from further terminals join it. It ends with the first shell, and everything in it.
 */
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

/** Runs `words`, or an interactive shell, in the user's sandbox; makes it first where there is none. Returns the exit code. */
export async function enterShell(words: readonly string[], terminal: Terminal): Promise<number> {
  const argv = words.length > 0 ? words : [process.env["SHELL"] ?? "/bin/sh"];
  const existing = findShell();
  terminal.leaveSignalsToChild();
  if (existing !== undefined) {
    terminal.err("lab shell: joining the sandbox that is open. It ends with its first shell.");
    return attached(joinCommand(existing, argv));
  }
  const rung = await findRung();
  terminal.err(`lab shell: ${RUNGS[rung]}: 1,000 ports, tcp_tw_reuse=0.`);
  terminal.err("make shell in further terminals joins it. exit ends it, and all in it.");
  return attached(sandboxCommand(rung, [...partCommand("shell-main"), SHELL_MARK, ...argv]));
}

async function attached(command: readonly string[]): Promise<number> {
  const [file = "", ...args] = command;
  // A make in there is not the child of the make that may have started this.
  const env = { MAKELEVEL: undefined, MAKEFLAGS: undefined, MFLAGS: undefined };
  const { exitCode, signal } = await execa(file, args, { stdio: "inherit", reject: false, env });
  return exitCode ?? (signal === undefined ? 1 : 130);
}
