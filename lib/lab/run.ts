/** run: runs labs, each arm in a fresh sandbox, and collects what they tell. Prints nothing. */
import { release } from "node:os";
import { setTimeout as pauseMs } from "node:timers/promises";
import { execa } from "execa";
import { HeldNetwork } from "../kernel/held-network.ts";
import { commandLine } from "../kernel/process.ts";
import { networkNamespace, sandboxCommand, type Rung } from "../kernel/sandbox.ts";
import type { ArmOrder } from "./arm.ts";
import type { Claim } from "./claim.ts";
import type { ArmKind, Lab } from "./define.ts";
import type { ArmEvent, Rules, Sample, Setting } from "./events.ts";
import { parameterValues } from "./parameters.ts";
import { partCommand } from "./program.ts";
import {
  armVerdict,
  labVerdict,
  thinnedOut,
  type ArmResult,
  type Interrupted,
  type LabResult,
} from "./result.ts";

/** How to run. */
export type RunOptions = {
  readonly rung: Rung;
  /** Other values for parameters; those that the lab does not have mean others. */
  readonly params?: Readonly<Record<string, number>>;
  /** Only these arms; all without it. */
  readonly select?: (arm: Lab["arms"][number], lab: Lab) => boolean;
  readonly signal: AbortSignal;
  /** Which of several runs of this lab it is, from 1. */
  readonly run?: number;
  /** Told when an arm begins, whatever it says, and how it ended. */
  readonly onArm?: (arm: { readonly kind: ArmKind; readonly about: string }) => void;
  readonly onEvent?: (event: ArmEvent) => void;
  readonly onArmEnd?: (result: ArmResult) => void;
};

/** An arm that takes longer than this is stuck. */
const ARM_DEADLINE_MS = 60_000;

/** What has been killed is gone after this, also on a busy machine. */
const DYING_MS = 1_000;

/** Runs a lab. Resolves with what was shown so far when `signal` is aborted; rejects only for defects of the engine. */
export async function runLab(lab: Lab, options: RunOptions): Promise<LabResult> {
  const startMs = performance.now();
  const params = parameterValues(lab, options.params);
  const arms: ArmResult[] = [];
  for (const [index, arm] of lab.arms.entries()) {
    if (options.signal.aborted) break;
    if (options.select?.(arm, lab) === false) continue;
    options.onArm?.(arm);
    const result = await runArm(
      arm,
      { lab: lab.name, arm: index, params, rung: options.rung },
      options,
    );
    options.onArmEnd?.(result);
    arms.push(result);
  }
  return {
    version: 1,
    lab: lab.name,
    summary: lab.summary,
    run: options.run ?? 1,
    verdict: options.signal.aborted ? "failed" : labVerdict(arms),
    params,
    environment: { kernel: release(), node: process.version, sandbox: options.rung },
    arms,
    durationMs: Math.round(performance.now() - startMs),
  };
}

/** What an arm has told. */
type Told = {
  readonly timeline: Sample[];
  readonly settings: Setting[];
  readonly rules: Rules[];
  readonly claims: Claim[];
  readonly notes: string[];
  network?: HeldNetwork | undefined;
  hasEnded?: true;
  skipped?: string;
  failed?: string;
  /** The first line on its stdout that is none of the engine's. */
  stray?: string;
};

async function runArm(
  arm: { readonly kind: ArmKind; readonly about: string },
  order: ArmOrder,
  options: RunOptions,
): Promise<ArmResult> {
  const startMs = performance.now();
  const told: Told = { timeline: [], settings: [], rules: [], claims: [], notes: [] };
  const crash = await execute(order, options, (line) => {
    const event = eventIn(line);
    if (event === undefined) return void (told.stray ??= line);
    hear(told, event);
    options.onEvent?.(event);
  });
  const reason = told.skipped ?? told.failed ?? crash ?? whyNotWhole(told);
  const result = {
    kind: arm.kind,
    about: arm.about,
    ...(reason === undefined ? {} : { reason }),
    settings: told.settings,
    rules: told.rules,
    claims: told.claims,
    notes: told.notes,
    timeline: thinnedOut(told.timeline),
    durationMs: Math.round(performance.now() - startMs),
    leftBehind: await leftBehind(told.network),
  };
  told.network?.letGo();
  return { ...result, verdict: armVerdict(result, told.skipped !== undefined) };
}

/** Runs the arm's process to its end; returns why it broke, if it did. */
async function execute(
  order: ArmOrder,
  options: RunOptions,
  onLine: (line: string) => void,
): Promise<string | undefined> {
  const argv = [...partCommand("arm-main"), JSON.stringify(order)];
  const [file = "", ...args] = sandboxCommand(order.rung, argv);
  const child = execa(file, args, {
    reject: false,
    stdin: "ignore",
    // An inspector in every program (VS Code's debug terminal asks for it) would take ports and descriptors that the lab has predicted.
    env: { NODE_OPTIONS: undefined },
    cancelSignal: options.signal,
    forceKillAfterDelay: 2_000,
    killSignal: "SIGKILL",
    timeout: ARM_DEADLINE_MS,
  });
  for await (const line of child) onLine(line);
  const { failed, timedOut, isCanceled, stderr, shortMessage } = await child;
  if (isCanceled) return "interrupted" satisfies Interrupted;
  if (timedOut) return `not over after ${ARM_DEADLINE_MS / 1_000} s`;
  return failed ? stderr.trim() || shortMessage : undefined;
}

/** Undefined for what the arm itself, or a library in it, has printed. */
function eventIn(line: string): ArmEvent | undefined {
  try {
    const value = JSON.parse(line) as Partial<ArmEvent> | null;
    return value?.event === undefined ? undefined : (value as ArmEvent);
  } catch {
    return undefined;
  }
}

/** What is missing in an arm whose process ended as if all were well. */
function whyNotWhole({ stray, hasEnded, claims }: Told): string | undefined {
  // It may be torn: the rest of it, and what else is missing, was the engine's.
  if (stray !== undefined)
    return `stdout is for the engine, and the arm wrote to it: ${JSON.stringify(stray)}; bench.say() tells people something`;
  if (hasEnded === undefined)
    return "its process ended before the arm did, as after process.exit()";
  return claims.length === 0 ? "made no claim" : undefined;
}

function hear(told: Told, event: ArmEvent): void {
  if (event.event === "ready") told.network = held(event.netns);
  if (event.event === "set") told.settings.push(event.setting);
  if (event.event === "rules") told.rules.push(event.rules);
  if (event.event === "sample") told.timeline.push(event.sample);
  if (event.event === "claim") told.claims.push(event.claim);
  if (event.event === "note") told.notes.push(event.text);
  if (event.event === "end") told.hasEnded = true;
  if (event.event === "skipped") told.skipped = event.reason;
  if (event.event === "failed") told.failed = event.reason;
}

/** With `--here` the network is everybody's: nothing is held. */
function held(netns: string): HeldNetwork | undefined {
  return netns === networkNamespace() ? undefined : HeldNetwork.find(netns);
}

/** Processes that still live in the arm's network, by their command lines. */
async function leftBehind(network: HeldNetwork | undefined): Promise<readonly string[]> {
  const endMs = performance.now() + DYING_MS;
  for (;;) {
    const left = network?.pids() ?? [];
    if (left.length === 0 || performance.now() > endMs)
      return left.map((pid) => `${pid} ${commandLine(pid).join(" ")}`);
    await pauseMs(DYING_MS / 50);
  }
}
