/** watch: what it costs to look at the socket table five times a second, and how late the looks come. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { startServer } from "../../lib/lab/program.ts";
import { gather } from "../../lib/programs/crowds.ts";
import type { Contest, Figures } from "../lib/contest.ts";
import { median } from "../lib/statistics.ts";

const INTERVAL_MS = 200;
/** Only to see that it works: no figure is to come of it. */
const QUICK_SOCKETS = 200;
const SETTLE_MS = 1_200;
const PER_DESTINATION = 10_000;
const STATES = join(import.meta.dirname, "../../cmd/states.js");

/** Opens connections within this sandbox, both ends of each, until there are that many sockets. */
async function openSockets(sockets: number): Promise<void> {
  const connections = sockets / 2;
  const count = Math.ceil(connections / PER_DESTINATION);
  const plans = await Promise.all(
    Array.from({ length: count }, async () => {
      const flags = ["--port", "0", "--backlog", "4096", "--status-interval-ms", "1000000"];
      const { port } = await startServer(flags);
      return {
        ...{ host: "127.0.0.1", port, messageBytes: 1, opening: 128 },
        connections: Math.round(connections / count),
      };
    }),
  );
  const crowds = await gather(plans, new AbortController().signal);
  const { open } = await crowds.open();
  if (open < connections) throw new Error(`${open} of ${connections} open`);
}

/** Clock ticks of a process and of all children that it has waited for; stat(5) says how long one is: 10 ms. */
function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0) * 10;
}

type Watched = { readonly cpuPercent: number; readonly stdout: string };

async function watched(measureMs: number, file: string, args: readonly string[]): Promise<Watched> {
  const env = { ...process.env, TERM: "xterm" };
  const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString("latin1")));
  const pid = child.pid ?? 0;
  await pause(SETTLE_MS);
  const before = cpuMs(pid);
  const startMs = performance.now();
  await pause(measureMs);
  const cpuPercent = ((cpuMs(pid) - before) * 100) / (performance.now() - startMs);
  child.kill("SIGKILL");
  return { cpuPercent, stdout };
}

/** Looks are due every 200 ms from start to start: the worst distance of two, less that. */
function lag(lines: string): Figures {
  const times = lines
    .split("\n")
    .slice(5, -1)
    .map((line) => Date.parse((JSON.parse(line) as { time: string }).time));
  const late = times.slice(1).map((time, index) => time - (times[index] ?? time) - INTERVAL_MS);
  return { lagMs: median(late), worstLagMs: Math.max(...late) };
}

async function watch(sockets: number): Promise<Figures> {
  await openSockets(sockets);
  const flags = ["--watch", "--json", "--interval-ms", `${INTERVAL_MS}`];
  const measureMs = sockets > QUICK_SOCKETS ? 4_000 : 400;
  const ours = await watched(measureMs, process.execPath, [STATES, ...flags]);
  const theirs = await watched(measureMs, "watch", ["-n.2", "ss -s"]);
  return { ours: ours.cpuPercent, theirs: theirs.cpuPercent, ...lag(ours.stdout) };
}

function atLoad(sockets: number): Contest["contestants"][string] {
  return {
    needs: [{ file: "watch", package: "procps" }],
    run: (load) => watch(Math.min(load, sockets)),
  };
}

const PEER = "watch -n.2 'ss -s'";

export const watchContest: Contest = {
  name: "watch",
  load: { full: 100_000, quick: QUICK_SOCKETS },
  runs: 1,
  contestants: { "1,000": atLoad(1_000), "30,000": atLoad(30_000), "100,000": atLoad(100_000) },
  lines: [
    ...["1,000", "30,000", "100,000"].map((sockets) => ({
      what: `states --watch five times a second, ${sockets} ESTABLISHED`,
      unit: "%" as const,
      better: "less" as const,
      ours: [sockets, "ours"] as const,
      peer: { name: PEER, source: [sockets, "theirs"] as const },
      ...(sockets === "100,000" ? { reach: { atMost: 25 } } : {}),
      limit:
        "ss -s reads three numbers and looks at no socket: it cannot tell ten of the eleven states. Ours has the kernel count ESTABLISHED and TIME_WAIT, and asks ss for the others; " +
        "to find these the kernel walks all, and that is what grows.",
    })),
    {
      what: "the same, 100,000: how late a look comes",
      unit: "ms",
      better: "less",
      ours: ["100,000", "worstLagMs"],
      limit:
        "The worst of twenty looks. A look begins 200 ms after the one before it, or when that has ended.",
    },
  ],
};
