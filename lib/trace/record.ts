/** record: starts a stage in a sandbox and brings back what it recorded. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { builtCommand } from "../kernel/built.ts";
import { NeedsError } from "../kernel/errors.ts";
import { LIFELINE } from "../kernel/lifeline.ts";
import { sandboxCommand } from "../kernel/sandbox.ts";
import { needTool } from "../kernel/tools.ts";
import type { Order, Recording, StageAnswer } from "./order.ts";

/**
 * Records what the order says. When `signal` is aborted what runs programs of ours is killed and this resolves with undefined; a
 * command or a process is let go of, and what was recorded until then comes back.
 *
 * @throws NeedsError when strace or tcpdump is missing, or may not do it, or when a signal ends the stage, which is `cause.signal`.
 */
export async function record(order: Order, signal: AbortSignal): Promise<Recording | undefined> {
  for (const tool of ["strace", "tcpdump"]) needTool(tool, tool);
  const stage = [...builtCommand("lib/trace/stage-main"), JSON.stringify(order)];
  const [file = "", ...args] = sandboxCommand(order.rung, stage);
  const child = spawn(file, args, { stdio: ["inherit", "pipe", "inherit", "pipe"] });
  const isOurs = order.kind === "scenario" || order.kind === "latency";
  const stop = (): void => {
    if (isOurs) child.kill("SIGKILL");
    (child.stdio[LIFELINE] as Writable).end();
  };
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const chunks: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [, by] = (await once(child, "close")) as [code: number | null, by: NodeJS.Signals | null];
  signal.removeEventListener("abort", stop);
  if (signal.aborted && isOurs) return undefined;
  const answer = answerIn(Buffer.concat(chunks).toString(), by);
  // A Ctrl-C at a terminal reaches the stage and strace, too, and ends them when they have hardly begun.
  if (signal.aborted && "failed" in answer) return undefined;
  return recordingIn(answer);
}

/** What a stage has printed that was ended `by` a signal, or by itself. */
function answerIn(text: string, by: NodeJS.Signals | null): StageAnswer {
  if (text !== "") return JSON.parse(text) as StageAnswer;
  if (by === null)
    return { failed: "the recording ended without a word; is this a Linux machine?", isNeed: true };
  return { failed: `the recording was ended by ${by}`, isNeed: true, signal: by };
}

function recordingIn(answer: StageAnswer): Recording {
  if ("recording" in answer) return answer.recording;
  if (answer.isNeed) throw new NeedsError(answer.failed, { cause: answer });
  throw new Error(answer.failed);
}
