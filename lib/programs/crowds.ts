/** crowds: one crowd in this process, or several in processes of their own, led as if they were one. */
import { fork, type ChildProcess } from "node:child_process";
import { once, setMaxListeners } from "node:events";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Pid } from "../kernel/process.ts";
import { Crowd, type Exchanged, type Opened } from "../protocol/crowd.ts";
import { addFailures, type FailureCounts } from "../protocol/errno.ts";
import type { Percentiles } from "../protocol/percentiles.ts";
import type { CrowdOrder, CrowdPlan } from "./crowd-main.ts";

/** What became of all messages. Percentiles of several processes cannot be added up: then there is one set for each. */
export type ExchangedByAll = Exchanged & { readonly latencies: readonly Percentiles[] };

/** One crowd or several. */
export type Crowds = {
  /** The processes that hold the connections. */
  readonly pids: readonly Pid[];
  readonly open: () => Promise<Opened>;
  readonly exchange: (rounds: number) => Promise<ExchangedByAll>;
  readonly close: () => void;
};

/** Where one crowd lives. */
type Quarters = {
  readonly pid: Pid;
  readonly open: () => Promise<Opened>;
  readonly exchange: (rounds: number) => Promise<Exchanged>;
  readonly close: () => void;
};

/** Gathers a crowd for each plan: a single one in this process, several in one process each. Nothing is opened yet. */
export async function gather(plans: readonly CrowdPlan[], signal: AbortSignal): Promise<Crowds> {
  setMaxListeners(0, signal); // One listener for each crowd: no leak.
  const [plan] = plans;
  const quarters =
    plan !== undefined && plans.length === 1
      ? [here(plan, signal)]
      : await Promise.all(plans.map((each) => elsewhere(each, signal)));
  return {
    pids: quarters.map(({ pid }) => pid),
    open: () => timed(quarters.map(({ open }) => open())).then(allOpened),
    exchange: (rounds) =>
      timed(quarters.map(({ exchange }) => exchange(rounds))).then(allExchanged),
    close: () => quarters.forEach(({ close }) => close()),
  };
}

function here({ messageBytes, ...plan }: CrowdPlan, signal: AbortSignal): Quarters {
  const crowd = new Crowd({ ...plan, message: Buffer.alloc(messageBytes, "x"), signal });
  return {
    pid: "self",
    open: () => crowd.open(),
    exchange: (rounds) => crowd.exchange(rounds),
    close: () => crowd.close(),
  };
}

const NOTHING_OPENED = { open: 0, durationMs: 0 };
const NOTHING_SAID = { sent: 0, answered: 0, durationMs: 0, latency: undefined };

async function elsewhere(plan: CrowdPlan, signal: AbortSignal): Promise<Quarters> {
  const program = new URL(`./crowd-main${extname(import.meta.url)}`, import.meta.url);
  const child = fork(fileURLToPath(program), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  // A process that ends has told nothing of its connections: they count as lost. At the end of all they may end before us.
  const lost = (): { readonly failures: FailureCounts } => {
    if (signal.aborted) return { failures: {} };
    const how = child.signalCode ?? `exit code ${child.exitCode}`;
    const first = `process ${child.pid} of ours has ended, and with it ${plan.connections} connections`;
    return { failures: { [how]: { count: plan.connections, first, syscalls: {} } } };
  };
  await ask(child, { do: "gather", plan }, () => ({}));
  const stop = (): void => tell(child, { do: "stop" });
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop);
  return {
    pid: child.pid ?? 0,
    open: () => ask(child, { do: "open" }, () => ({ ...NOTHING_OPENED, ...lost() })),
    exchange: (rounds) =>
      ask(child, { do: "exchange", rounds }, () => ({ ...NOTHING_SAID, ...lost() })),
    close: () => child.kill("SIGKILL"),
  };
}

/** Resolves to `nothing()` when the process ends instead of answering. */
async function ask<T>(child: ChildProcess, order: CrowdOrder, nothing: () => T): Promise<T> {
  const isGone = child.exitCode !== null || child.signalCode !== null;
  const ended = isGone ? Promise.resolve() : once(child, "exit");
  tell(child, order);
  const answered = once(child, "message").then(([answer]) => answer as T);
  return Promise.race([answered, ended.then(nothing)]);
}

/** One that has gone hears nothing. */
function tell(child: ChildProcess, order: CrowdOrder): void {
  if (child.connected) child.send(order, () => undefined);
}

type Timed<T> = { readonly parts: readonly T[]; readonly durationMs: number };

async function timed<T>(under: readonly Promise<T>[]): Promise<Timed<T>> {
  const startMs = performance.now();
  const parts = await Promise.all(under);
  return { parts, durationMs: performance.now() - startMs };
}

function allOpened({ parts, durationMs }: Timed<Opened>): Opened {
  return { open: sum(parts, "open"), durationMs, failures: allFailures(parts) };
}

function allExchanged({ parts, durationMs }: Timed<Exchanged>): ExchangedByAll {
  const latencies = parts.flatMap(({ latency }) => (latency === undefined ? [] : [latency]));
  return {
    sent: sum(parts, "sent"),
    answered: sum(parts, "answered"),
    durationMs,
    latency: latencies.length === 1 ? latencies[0] : undefined,
    latencies,
    failures: allFailures(parts),
  };
}

function sum<K extends string>(parts: readonly Record<K, number>[], key: K): number {
  return parts.reduce((total, part) => total + part[key], 0);
}

function allFailures(parts: readonly { readonly failures: FailureCounts }[]): FailureCounts {
  const all: FailureCounts = {};
  for (const { failures } of parts) addFailures(all, failures);
  return all;
}
