/** watch: what it costs to look at the socket table five times a second, and how late the looks come. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { execa } from "execa";
import { startServer } from "../../lib/lab/program.ts";
import { countProcNet } from "../../lib/sockets/capture.ts";
import { gather } from "../../lib/programs/crowds.ts";
import { command, timeMs } from "../lib/clock.ts";
import type { Contest, Figures } from "../lib/contest.ts";
import { DEEP_QUEUE } from "../lib/listening.ts";
import { median } from "../lib/statistics.ts";

const INTERVAL_MS = 200;
/** Only to see that it works: no figure is to come of it. */
const QUICK_SOCKETS = 200;
/** Looks until it has found out how long the table is, and V8 has compiled what runs often. */
const LOOKS = 5;
/** By then V8's memory reducer is done: it comes once, 8 s after the start, and costs as much as three seconds of looking at a short table. */
const SETTLED_MS = 12_000;
const PER_DESTINATION = 10_000;
const PEER = "watch -n.2 'ss -s'";
const STATES = join(import.meta.dirname, "../../cmd/states.js");

/**
 * Opens connections within this sandbox, both ends of each, until there are that many sockets. `leaking` ends one side of each
 * and forgets the other: half of the sockets are CLOSE_WAIT, and for a minute the other half are FIN_WAIT2.
 */
async function openSockets(sockets: number, isLeaking: boolean): Promise<void> {
  const connections = sockets / 2;
  const count = Math.ceil(connections / PER_DESTINATION);
  const plans = await Promise.all(
    Array.from({ length: count }, async () => {
      const flags = ["--port", "0", ...DEEP_QUEUE, "--status-interval-ms", "1000000"];
      const { port } = await startServer(isLeaking ? [...flags, "--leak"] : flags);
      return {
        ...{ host: "127.0.0.1", port, messageBytes: 1, opening: 128 },
        connections: Math.round(connections / count),
      };
    }),
  );
  const crowds = await gather(plans, new AbortController().signal);
  const { open } = await crowds.open();
  if (open < connections) throw new Error(`${open} of ${connections} open`);
  if (!isLeaking) return;
  crowds.close();
  while (countProcNet().CLOSE_WAIT < connections) await pause(100);
}

/**
 * What a process has had of the processors. For its own threads schedstat has nanoseconds; children that it has waited for are in
 * stat(5) only, in clock ticks of 10 ms.
 */
function cpuMs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) =>
    Number.parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1"), 10),
  );
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [Number(fields[13]), Number(fields[14])];
  return threads.reduce((sum, ns) => sum + ns / 1e6, 0) + (user + system) * 10;
}

/** How long to wait, and then to measure. */
type Times = { readonly settleMs: number; readonly measureMs: number };

type Watched = { readonly cpuPercent: number; readonly looks: readonly string[] };

/** Measures once it has settled. */
async function statesWatch({ settleMs, measureMs }: Times): Promise<Watched> {
  const args = [STATES, "--watch", "--json", "--interval-ms", `${INTERVAL_MS}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString("latin1")));
  const pid = child.pid ?? 0;
  await pause(settleMs);
  while (linesOf(stdout).length < LOOKS) await once(child.stdout, "data");
  const earlier = linesOf(stdout).length;
  const before = cpuMs(pid);
  const startMs = performance.now();
  await pause(measureMs);
  const cpuPercent = ((cpuMs(pid) - before) * 100) / (performance.now() - startMs);
  child.kill("SIGKILL");
  return { cpuPercent, looks: linesOf(stdout).slice(earlier) };
}

/** Whole lines only. */
function linesOf(text: string): readonly string[] {
  return text.split("\n").slice(0, -1);
}

/** Looks are due every 200 ms, each with the time at its end: the worst distance of two, less that. */
function lag(looks: readonly string[]): Figures {
  const times = looks.map((line) => Date.parse((JSON.parse(line) as { time: string }).time));
  const late = times.slice(1).map((time, index) => time - (times[index] ?? time) - INTERVAL_MS);
  return { lagMs: median(late), worstLagMs: Math.max(...late) };
}

/**
 * `watch` spends nearly all of it in children that live for 3 ms. Clock ticks are too coarse for that; the `times` of bash has
 * milliseconds: "0m0.001s 0m0.000s" for itself and, in the second line, for what it has waited for.
 */
async function peerPercent(measureMs: number): Promise<number> {
  const script = `timeout ${measureMs / 1_000} ${PEER} >/dev/null; times`;
  const startMs = performance.now();
  const { stdout } = await execa("bash", ["-c", script], { env: { TERM: "xterm" } });
  const tookMs = performance.now() - startMs;
  const spent = [...stdout.matchAll(/(\d+)m([\d.]+)s/g)].slice(2);
  const spentMs = spent.map(
    ([, minutes, seconds]) => (Number(minutes) * 60 + Number(seconds)) * 1_000,
  );
  return (spentMs.reduce((sum, ms) => sum + ms, 0) * 100) / tookMs;
}

async function watch(sockets: number, isLeaking: boolean): Promise<Figures> {
  await openSockets(sockets, isLeaking);
  const isQuick = sockets <= QUICK_SOCKETS;
  const measureMs = isQuick ? 800 : 10_000;
  const ours = await statesWatch({ settleMs: isQuick ? 0 : SETTLED_MS, measureMs });
  return {
    ours: ours.cpuPercent,
    theirs: await peerPercent(measureMs),
    ...lag(ours.looks),
    procMs: timeMs(command("cat", "/proc/net/tcp")),
    ssMs: timeMs(command("ss", "-tan")),
  };
}

function atLoad(sockets: number, isLeaking = false): Contest["contestants"][string] {
  return {
    needs: [
      { file: "watch", package: "procps" },
      { file: "bash", package: "bash" },
      { file: "ss", package: "iproute2" },
    ],
    run: (load) => watch(Math.min(load, sockets), isLeaking),
  };
}

const SHORT =
  "A short table is read from /proc/net/tcp, without a process: what is left is the kernel's text, 150 bytes a socket, and Node. watch starts a shell and ss each time.";
const LONG =
  "ss -s reads a few numbers and looks at no socket: it cannot tell nine of the eleven states. Ours reads such numbers too, for the states of many, and asks ss for the others; " +
  "to find these the kernel walks past all, and that is what grows.";

export const watchContest: Contest = {
  name: "watch",
  load: { full: 100_000, quick: QUICK_SOCKETS },
  runs: 5,
  contestants: {
    "1,000": atLoad(1_000),
    "30,000": atLoad(30_000),
    "100,000": atLoad(100_000),
    leak: atLoad(100_000, true),
  },
  lines: [
    ...["1,000", "30,000", "100,000"].map((sockets) => ({
      what: `states --watch five times a second, ${sockets} ESTABLISHED`,
      unit: "%" as const,
      better: "less" as const,
      ours: [sockets, "ours"] as const,
      peer: { name: PEER, source: [sockets, "theirs"] as const },
      ...(sockets === "100,000" ? { reach: { atMost: 25 } } : {}),
      limit: sockets === "1,000" ? SHORT : LONG,
    })),
    {
      what: "the same, 50,000 CLOSE_WAIT and 50,000 FIN_WAIT2",
      unit: "%",
      better: "less",
      ours: ["leak", "ours"],
      peer: { name: PEER, source: ["leak", "theirs"] },
      reach: { atMost: 25 },
      limit: "The same. Only the first look lists all of them.",
    },
    {
      what: "the same, 100,000 ESTABLISHED: how late a look comes",
      unit: "ms",
      better: "less",
      ours: ["100,000", "worstLagMs"],
      limit:
        "The worst of fifty looks. A look begins 200 ms after the one before it, or when that has ended.",
    },
    {
      what: "the floor: cat /proc/net/tcp, once, 100,000 ESTABLISHED",
      unit: "ms",
      better: "less",
      ours: ["100,000", "procMs"],
      peer: { name: "ss -tan", source: ["100,000", "ssMs"] },
      isFloor: true,
      limit:
        "The kernel writes 15 MB of text, and nobody has read it yet. Five times a second that alone is nearly half a core, and by way of ss four fifths: whoever wants to watch for less must not ask for every socket.",
    },
  ],
  growth: [
    {
      what: "states --watch, five times a second",
      of: "sockets",
      loads: [1_000, 10_000, 100_000],
      unit: "%",
      source: ["100,000", "ours"],
      kind: "total",
    },
  ],
};
