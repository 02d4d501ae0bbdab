/**
 * stage: records, inside the sandbox: programs under strace, packets on the loopback interface, and the socket table meanwhile.
 */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { NeedsError } from "../kernel/errors.ts";
import { whenCutLoose } from "../kernel/lifeline.ts";
import { diesWithParent, exitCodeOf, processTrouble, tracerOf } from "../kernel/process.ts";
import { enterSandbox, wayIntoNetwork } from "../kernel/sandbox.ts";
import { writeSysctl } from "../kernel/sysctl.ts";
import { hasTool } from "../kernel/tools.ts";
import { readProcNet } from "../sockets/capture.ts";
import type { Order, Recording, StageAnswer, Traced } from "./order.ts";
import type { SampleRow } from "./samples.ts";
import { realtimeClock } from "./realtime.ts";
import { startSampler, type Sampler } from "./sampler.ts";
import { PORT, programOf, SCENARIOS, type Scenario } from "./scenarios.ts";
import {
  endTraced,
  leaveTraced,
  readPcap,
  spawnThatDiesWithUs,
  startPlain,
  startStrace,
  startTcpdump,
  type Capture,
  type Tracing,
} from "./tracers.ts";

type OrderOf<K extends Order["kind"]> = Order & { readonly kind: K };

const DEADLINE_MS = 10_000;
const SETTLE_MS = 5_000;
const TIME_WAIT_DEADLINE_MS = 70_000;
const KILLED = exitCodeOf({ signal: "SIGKILL" });

/** Does what the order says. Rejects with a NeedsError when a tool is missing. */
async function perform(order: Order): Promise<Recording> {
  if (order.rung !== "here") await enterSandbox();
  switch (order.kind) {
    case "scenario":
      return playScenario(order);
    case "latency":
      return timeConnections(order);
    case "command":
      return traceCommand(order);
    case "attach":
      return attach(order);
  }
}

async function playScenario(order: OrderOf<"scenario">): Promise<Recording> {
  whenCutLoose(() => process.exit());
  const scenario: Scenario = SCENARIOS[order.name];
  for (const [name, value] of Object.entries(scenario.sysctls ?? {})) writeSysctl(name, value);
  const client = [
    ...scenario.client,
    ...(scenario.takesConnections ? ["--connections", `${order.connections}`] : []),
  ];
  const capture = await startTcpdump("lo");
  const server =
    scenario.server === undefined ? undefined : startStrace(target("server", scenario.server));
  if (server !== undefined) await untilBound(scenario.protocol, server);
  const sampler = startSampler();
  const tracedClient = await startStrace(target("client", client)).traced;
  await settled(sampler);
  if (order.wait) await gone(sampler);
  const samples = sampler.stop();
  const tracedServer = server === undefined ? undefined : await ended(server);
  const bareFromNs = `${realtimeClock()()}`;
  await playBare(scenario, client);
  const traced = [...(tracedServer === undefined ? [] : [tracedServer]), tracedClient];
  return { traced, samples, bareFromNs, ...(await needed(capture)) };
}

function target(
  role: "server" | "client",
  words: readonly string[],
): Parameters<typeof startStrace>[0] {
  return { role, shown: words.join(" "), argv: programOf(words), isUsers: false };
}

async function ended(tracing: Tracing): Promise<Traced> {
  await endTraced(tracing);
  return tracing.traced;
}

/** The same once more, with nobody watching but tcpdump: what strace costs is the difference. */
async function playBare(scenario: Scenario, clientWords: readonly string[]): Promise<void> {
  const start = (words: readonly string[]): ReturnType<typeof spawnThatDiesWithUs> =>
    spawnThatDiesWithUs(programOf(words), { stdio: "ignore" });
  const server = scenario.server === undefined ? undefined : start(scenario.server);
  if (server !== undefined) await untilBound(scenario.protocol);
  const client = start(clientWords);
  await new Promise((resolve) => client.on("close", resolve));
  if (server === undefined) return;
  const sampler = startSampler();
  await settled(sampler);
  sampler.stop();
  server.kill("SIGTERM");
  await new Promise((resolve) => server.on("close", resolve));
}

/** Two clients in turn: one with tcpdump beside it, one without. */
async function timeConnections({ connections }: OrderOf<"latency">): Promise<Recording> {
  whenCutLoose(() => process.exit());
  const serverWords = ["actor", "timed-server", `${PORT}`];
  const clientWords = ["actor", "timed-client", `${PORT}`, `${connections}`];
  const server = startPlain("server", serverWords);
  await untilBound("tcp");
  const capture = await startTcpdump("lo");
  const client = await startPlain("client", clientWords).traced;
  const packets = await needed(capture);
  const bare = await startPlain("client", clientWords).traced;
  server.child.kill("SIGTERM");
  return {
    traced: [await server.traced, client, bare],
    samples: [],
    bareFromNs: undefined,
    ...packets,
  };
}

async function traceCommand(order: OrderOf<"command">): Promise<Recording> {
  const [file = ""] = order.argv;
  if (!hasTool(file))
    throw new NeedsError(`there is no program ${JSON.stringify(file)} that may be executed`);
  const capture = await startTcpdump(order.rung === "here" ? "any" : "lo");
  const sampler = startSampler();
  const shown = order.argv.join(" ");
  const tracing = startStrace({ role: "command", shown, argv: order.argv, isUsers: true });
  whenCutLoose(() => void endTraced(tracing));
  const traced = await tracing.traced;
  if (order.rung !== "here") await settled(sampler);
  const samples = sampler.stop();
  const whole = wholeLines(traced, await captured(capture));
  const notes = [...whole.notes, ...sampler.notes()];
  return { samples, bareFromNs: undefined, ...whole, notes };
}

async function attach({ pid, forMs }: OrderOf<"attach">): Promise<Recording> {
  const through = await wayTo(pid);
  const tracer = tracerOf(pid);
  if (tracer !== undefined)
    throw new NeedsError(
      `process ${pid} is traced by process ${tracer} already, and there can be only one`,
    );
  const capture = await startTcpdump("any", through);
  // strace asks the kernel for the names of sockets, and that knows those of strace's own network.
  const tracing = startStrace({ role: "process", shown: `pid ${pid}`, pid, through });
  const leave = (): void => void leaveTraced(tracing);
  whenCutLoose(leave);
  const timer = setTimeout(leave, forMs);
  const traced = await tracing.traced;
  clearTimeout(timer);
  if (traced.strace === "" && /\battach: /.test(traced.output))
    throw new NeedsError(
      `${traced.output.trim()}: another user's process, or one with capabilities, or kernel.yama.ptrace_scope forbids it; try as root`,
    );
  return { samples: [], bareFromNs: undefined, ...wholeLines(traced, await captured(capture)) };
}

/** Words before what is to run in the network of a process. Rejects with a NeedsError when that cannot be. */
async function wayTo(pid: number): Promise<readonly string[]> {
  const way = await wayIntoNetwork(pid).catch((error: unknown) => {
    throw processTrouble(pid, error);
  });
  if (way === undefined)
    throw new NeedsError(
      `process ${pid} lives in another network, which may not be entered; try as root`,
    );
  // To enter a user namespace takes back that whoever does it dies with us.
  return way.length === 0 ? [] : [...way, ...diesWithParent([])];
}

type Packets = Pick<Recording, "pcap" | "tcpdump" | "notes">;

/**
 * strace that was killed may have left a line without an end: what it had written before is good. It may also have been between two
 * lines; so may one that ends as what it traces was killed, but that has said so.
 */
function wholeLines(
  traced: Traced,
  { notes, ...rest }: Packets,
): Packets & Pick<Recording, "traced"> {
  const end = traced.strace.lastIndexOf("\n") + 1;
  const text = traced.strace.slice(0, end);
  const isCut =
    end < traced.strace.length || (traced.exitCode === KILLED && !text.endsWith("+++\n"));
  return {
    ...rest,
    traced: [{ ...traced, strace: text }],
    notes: isCut ? [...notes, "calls are missing: strace was killed"] : notes,
  };
}

async function captured(capture: Capture): Promise<Packets> {
  const { pcap, why } = await capture.stop();
  if (pcap === undefined) return { pcap: undefined, tcpdump: "", notes: [`no packets: ${why}`] };
  const notes = why === "" ? [] : [`packets are missing: ${why}`];
  return { pcap: pcap.toString("base64"), tcpdump: await readPcap(pcap), notes };
}

/** A story of ours is not whole without its packets. Rejects with a NeedsError, and what tcpdump said, where there are none. */
async function needed(capture: Capture): ReturnType<typeof captured> {
  const packets = await captured(capture);
  if (packets.pcap === undefined) throw new NeedsError(packets.notes.join("; "));
  return packets;
}

/** Waits until the server has its port. Throws what the server said when it ended instead. */
async function untilBound(protocol: Scenario["protocol"], tracing?: Tracing): Promise<void> {
  const isBound = (): boolean =>
    protocol === "tcp"
      ? readProcNet().some(({ state, local }) => state === "LISTEN" && local.port === PORT)
      : readFileSync("/proc/net/udp", "latin1").includes(
          `:${PORT.toString(16).toUpperCase().padStart(4, "0")} `,
        );
  const endMs = performance.now() + DEADLINE_MS;
  while (!isBound()) {
    if (tracing !== undefined && tracing.child.exitCode !== null)
      throw new Error(`the server ended: ${(await tracing.traced).output}`);
    if (performance.now() > endMs)
      throw new Error(`the server has no port after ${DEADLINE_MS} ms`);
    await pause(5);
  }
}

/** Waits until no connection is left but those in TIME_WAIT. */
async function settled(sampler: Sampler): Promise<void> {
  await until(sampler, SETTLE_MS, (rows) =>
    rows.every(({ state }) => state === "LISTEN" || state === "TIME_WAIT"),
  );
  // A few more readings of what is left.
  await pause(20);
}

async function gone(sampler: Sampler): Promise<void> {
  await until(sampler, TIME_WAIT_DEADLINE_MS, (rows) =>
    rows.every(({ state }) => state === "LISTEN"),
  );
}

async function until(
  sampler: Sampler,
  deadlineMs: number,
  holds: (rows: readonly SampleRow[]) => boolean,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  do await pause(5);
  while (!holds(sampler.rows()) && performance.now() < endMs);
}

/** Runs what the command line orders, prints a StageAnswer, and ends. */
export async function stageMain(): Promise<never> {
  // What is traced gets it too, and ends: then there is something to show. Whoever started us tells us to stop.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
  const text = await perform(JSON.parse(process.argv[2] ?? "{}") as Order)
    .then((recording) => JSON.stringify({ recording } satisfies StageAnswer))
    .catch((error: unknown) => {
      // It may be too long for one text, too: RangeError.
      const failed = error instanceof Error ? error.message : String(error);
      return JSON.stringify({ failed, isNeed: error instanceof NeedsError } satisfies StageAnswer);
    });
  await new Promise((resolve) => process.stdout.write(text, resolve));
  process.exit(0);
}
