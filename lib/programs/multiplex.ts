/** multiplex: many connections at once, and what they cost both sides and the kernel. Prints nothing. */
import { setTimeout as pause } from "node:timers/promises";
import { NeedsError } from "../kernel/errors.ts";
import { kernelMemory, type KernelMemory } from "../kernel/memory.ts";
import { ephemeralPorts } from "../kernel/ports.ts";
import { openDescriptors, ownerOfSocket, processStatus, type Pid } from "../kernel/process.ts";
import { startServer } from "../lab/program.ts";
import { Crowd, type Opened } from "../protocol/crowd.ts";
import { procTexts, readProcNet } from "../sockets/capture.ts";
import { isBoundTo, procListenerView } from "../sockets/listener.ts";
import { takenPorts } from "../sockets/taken-ports.ts";
import type { BothSides } from "./bomb.ts";
import type { CrowdPlan } from "./crowd-main.ts";
import { gather, type ExchangedByAll } from "./crowds.ts";
import { keepYoungGenerationSmall } from "./heap.ts";

/** What to do. */
export type MultiplexOptions = {
  readonly host: string;
  /** Port of a server that is there already; undefined to start one, on `host`, which has to be an address of this machine. */
  readonly port: number | undefined;
  /** Connections of each process, see sharesOf(). Without a `port` each has a server of its own. */
  readonly shares: readonly number[];
  readonly messages: number;
  readonly messageBytes: number;
  /** Handshakes under way at the same time, in each process. */
  readonly opening: number;
  /** How many are opened per second, in each process; as fast as it goes when undefined. */
  readonly openPerSecond?: number | undefined;
  /** Whoever waits is given up when no connection of its process has heard anything for so long. */
  readonly timeoutMs: number;
  /** All at once, or, to compare, one connection after the other. */
  readonly how: "at-once" | "in-turns";
  readonly signal: AbortSignal;
};

/** The processes of one side at one instant, added up. */
export type ProcessView = {
  readonly threads: number;
  readonly rssBytes: number;
  readonly descriptors: number;
};

/** One side before the connections were opened, and with all of them open. */
export type SideView = {
  readonly processes: number;
  readonly before: ProcessView;
  readonly open: ProcessView;
};

/** Everything that multiplex knows at its end. */
export type MultiplexResult = {
  readonly connections: number;
  readonly how: "at-once" | "in-turns";
  readonly opened: Opened;
  readonly exchanged: ExchangedByAll;
  /** Undefined when one of our processes has ended meanwhile: what is left cannot be compared. */
  readonly client: SideView | undefined;
  /** Undefined, too, when the server does not run on this machine, or belongs to somebody else. */
  readonly server: SideView | undefined;
  /** Of the whole machine. */
  readonly kernel: { readonly before: KernelMemory; readonly open: KernelMemory };
  /** Both ends of the connections, as far as they are on this machine, when all messages had been exchanged. */
  readonly states: BothSides;
};

/** Opens the connections, lets all of them talk, closes them. Rejects with NeedsError, before anything is opened, when ports are too few. */
export async function multiplex(options: MultiplexOptions): Promise<MultiplexResult> {
  keepYoungGenerationSmall();
  const { shares, host, how, signal } = options;
  const servers = await serversOf(options).catch(async (error: unknown) => {
    // Ctrl-C at a terminal reaches them, too, be it before they listen: then there is nobody to meet. Of their end we may be told a
    // little before our own signal.
    await pause(100, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return [];
    throw error;
  });
  try {
    if (how === "at-once")
      servers.forEach(({ port }, index) => checkPorts(shares[index] ?? 0, host, port));
    return await meet(options, servers);
  } finally {
    await Promise.all(servers.map(({ stop }) => stop()));
  }
}

function checkPorts(connections: number, address: string, port: number): void {
  const { low, high, ports } = ephemeralPorts();
  const taken = takenPorts(readProcNet(), address, port);
  const free = ports.filter((candidate) => !taken.has(candidate)).length;
  if (free >= connections) return;
  throw new NeedsError(
    `${connections} connections to one address and port need as many local ports; ${free} of ${low} to ${high} are free.\n` +
      `  Widen the range: sysctl -w net.ipv4.ip_local_port_range="1024 65535" (as root).` +
      (free === 0 ? "" : `\n  Or take fewer: multiplex --connections ${free}`),
  );
}

type Server = {
  readonly pid: number | undefined;
  readonly port: number;
  readonly stop: () => Promise<unknown>;
};

const NEVER_MS = 2 ** 31 - 1;

async function serversOf({ host, port, shares }: MultiplexOptions): Promise<readonly Server[]> {
  if (port === undefined) {
    const flags = ["--host", host, "--port", "0", "--backlog", "4096"];
    // Nobody reads the status of these, and with 200,000 sockets it is not cheap.
    flags.push("--status-interval-ms", `${NEVER_MS}`);
    // In our session, though Ctrl-C reaches them there: in one of their own (setsid) they are another group for the scheduler
    // (sched_autogroup_enabled), and 10,000 connections take a third longer to open.
    return Promise.all(shares.map(() => startServer(flags)));
  }
  const listener = readProcNet().find(
    ({ state, local }) => state === "LISTEN" && isBoundTo(local, { address: host, port }),
  );
  const pid = listener?.inode === undefined ? undefined : ownerOfSocket(listener.inode);
  return [{ pid, port, stop: () => Promise.resolve() }];
}

async function meet(
  options: MultiplexOptions,
  servers: readonly Server[],
): Promise<MultiplexResult> {
  const { host, shares, messages, messageBytes, how, signal } = options;
  const { opening, openPerSecond, timeoutMs } = options;
  const connections = shares.reduce((sum, share) => sum + share, 0);
  const plans = servers.map(({ port }, index) => ({
    ...{ host, port, messageBytes, opening, openPerSecond, timeoutMs },
    connections: shares[index] ?? 0,
  }));
  const crowds = await gather(plans, signal);
  const serverPids = servers.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  const look = (): Instant => ({
    client: viewOf(crowds.pids),
    server: serverPids.length < servers.length ? undefined : viewOf(serverPids),
    kernel: kernelMemory(),
  });
  const before = await atRest(look);
  const opened = how === "at-once" ? await crowds.open() : { open: 0, durationMs: 0, failures: {} };
  const [plan] = plans;
  const exchanged = await (how === "at-once" || plan === undefined
    ? crowds.exchange(messages)
    : inTurns(plan, messages, signal));
  const open = look();
  const states = statesOf(servers);
  crowds.close();
  return {
    ...{ connections, how, opened, exchanged, states },
    client: sideOf(crowds.pids.length, before.client, open.client),
    server: sideOf(servers.length, before.server, open.server),
    kernel: { before: before.kernel, open: open.kernel },
  };
}

function sideOf(processes: number, before?: ProcessView, open?: ProcessView): SideView | undefined {
  return before && open && { processes, before, open };
}

type Instant = {
  readonly client: ProcessView | undefined;
  readonly server: ProcessView | undefined;
  readonly kernel: KernelMemory;
};

/** A server that has just started may have a file open for a moment: looks until nothing has changed between two looks, 1 s at most. */
async function atRest(look: () => Instant): Promise<Instant> {
  const tableOf = ({ client, server }: Instant): string =>
    [client, server].map((view) => `${view?.descriptors} ${view?.threads}`).join();
  let instant = look();
  for (let tries = 0; tries < 40; tries += 1) {
    await pause(25);
    const next = look();
    if (tableOf(next) === tableOf(instant)) return next;
    instant = next;
  }
  return instant;
}

async function inTurns(
  plan: CrowdPlan,
  messages: number,
  signal: AbortSignal,
): Promise<ExchangedByAll> {
  const message = Buffer.alloc(plan.messageBytes, "x");
  const exchanged = await new Crowd({ ...plan, message, signal }).takeTurns(messages);
  const { latency } = exchanged;
  return { ...exchanged, latencies: latency === undefined ? [] : [latency] };
}

function statesOf(servers: readonly Server[]): BothSides {
  const ports = new Set(servers.map(({ port }) => port));
  const { clients, server } = procListenerView(procTexts(), ports);
  return { clients, server };
}

/** Undefined when one of them has ended, and was waited for. */
function viewOf(pids: readonly Pid[]): ProcessView | undefined {
  const sum = { threads: 0, rssBytes: 0, descriptors: 0 };
  try {
    for (const pid of pids) {
      const { threads, rssBytes } = processStatus(pid);
      sum.descriptors += openDescriptors(pid);
      sum.threads += threads;
      sum.rssBytes += rssBytes;
    }
    return sum;
  } catch {
    return undefined;
  }
}
