/**
 * arena: one run of one contestant, in a process of its own and, as a rule, in a sandbox of its own.
 *
 * `arena-main.js CONTEST CONTESTANT LOAD sandbox|outside` is the program; it prints the figures as JSON.
 */
import { execa } from "execa";
import { fileURLToPath } from "node:url";
import { enterSandbox, findRung, sandboxCommand } from "../../lib/kernel/sandbox.ts";
import type { Contest, Outcome } from "./contest.ts";
import { onOneCore } from "./cores.ts";

/** Which contestant is to run, and with what load. */
export type Entry = {
  readonly contest: Contest;
  readonly contestant: string;
  readonly load: number;
};

/** Runs a contestant once. Rejects with what it said when it failed, and when `signal` aborts. */
export async function runInArena(
  { contest, contestant, load }: Entry,
  signal: AbortSignal,
): Promise<Outcome> {
  const { isOutside = false, isOnOneCore = false } = contest.contestants[contestant] ?? {};
  const arena = fileURLToPath(new URL("./arena-main.js", import.meta.url));
  const words = [contest.name, contestant, `${load}`, isOutside ? "outside" : "sandbox"];
  const argv = [process.execPath, arena, ...words];
  const rung = isOutside ? "here" : await theRung();
  const [file = "", ...args] = [...(isOnOneCore ? onOneCore() : []), ...sandboxCommand(rung, argv)];
  const { stdout, stderr, failed } = await execa(file, args, {
    ...{ reject: false, stdin: "ignore", cancelSignal: signal },
    // The other signals unshare passes over; all that it has started goes with it.
    killSignal: "SIGKILL",
  });
  signal.throwIfAborted();
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (failed || !last.startsWith("{")) throw new Error(`${words.join(" ")}: ${stderr || stdout}`);
  return JSON.parse(last) as Outcome;
}

let found: ReturnType<typeof findRung> | undefined;

function theRung(): ReturnType<typeof findRung> {
  found ??= findRung();
  return found;
}

/** The other side of it. */
export async function arenaMain(contests: readonly Contest[]): Promise<void> {
  const [, , name, contestant = "", load, where] = process.argv;
  if (where === "sandbox") await enterSandbox();
  const run = contests.find((contest) => contest.name === name)?.contestants[contestant]?.run;
  if (run === undefined) throw new Error(`no contestant ${contestant} in ${name ?? ""}`);
  process.stdout.write(`${JSON.stringify(await run(Number(load)))}\n`);
  process.exit(0);
}
