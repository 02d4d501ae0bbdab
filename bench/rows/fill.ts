/** fill: the whole port range into TIME_WAIT, to the first EADDRNOTAVAIL. */
import { TIME_WAIT_MS } from "../../lib/kernel/ports.ts";
import { writeSysctl } from "../../lib/kernel/sysctl.ts";
import { runProgram, startServer } from "../../lib/lab/program.ts";
import type { Contest, Outcome } from "../lib/contest.ts";
import { DEEP_QUEUE } from "../lib/listening.ts";
import { COMPILER, runPeer } from "../lib/peer.ts";

const FIRST_PORT = 32_768;

/** Who is not done by then never will be: ports come back as fast as they were taken. */
const LIMIT_MS = TIME_WAIT_MS + 2_000;

/** TIME_WAITs stay, and the range has that many ports. */
function prepare(ports: number): void {
  writeSysctl("net.ipv4.tcp_tw_reuse", "0");
  writeSysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
}

type Bombed = {
  readonly durationMs: number;
  readonly successes: number;
  readonly failures: Readonly<Record<string, unknown>>;
};

async function fill(ports: number, ...flags: readonly string[]): Promise<Outcome> {
  prepare(ports);
  // Below the range: none of its ports is taken by the listener.
  const { port } = await startServer(["--port", "8080", ...DEEP_QUEUE]);
  const result = await runProgram<Bombed>("bomb", [
    ...["--port", `${port}`, "--duration-ms", `${LIMIT_MS}`],
    ...flags,
  ]);
  const { durationMs, successes, failures } = result;
  return filled({ durationMs, isFull: "EADDRNOTAVAIL" in failures && successes >= ports });
}

async function fillInC(ports: number): Promise<Outcome> {
  prepare(ports);
  const { durationMs, opened, error } = await runPeer(LIMIT_MS);
  return filled({ durationMs, isFull: error === "EADDRNOTAVAIL" && opened >= ports });
}

type Filled = { readonly durationMs: number; readonly isFull: boolean };

function filled({ durationMs, isFull }: Filled): Outcome {
  if (isFull) return { seconds: durationMs / 1_000 };
  // A slow machine: the range is emptied as fast as it is filled.
  if (durationMs > TIME_WAIT_MS)
    return { missing: "not full before the first TIME_WAIT was over, after 60 s" };
  throw new Error(`not filled after ${durationMs} ms`);
}

const SEARCH =
  "The kernel's search: connect() tries one port after the other, each with a look at its bind bucket and its TIME_WAIT (__inet_hash_connect, " +
  "__inet_check_established), until one is free. That is quadratic in the number of ports, the same in C, and nine tenths of the time of both.";

export const fillContest: Contest = {
  name: "fill",
  load: { full: 28_232, quick: 1_000 },
  runs: 5,
  contestants: {
    "our bomb": { run: (ports) => fill(ports) },
    "C loop": { needs: COMPILER, run: fillInC },
    "our bomb, --walk-ports": { run: (ports) => fill(ports, "--walk-ports") },
  },
  lines: [
    {
      what: "full port range to EADDRNOTAVAIL, bomb --walk-ports",
      unit: "s",
      better: "less",
      ours: ["our bomb, --walk-ports", "seconds"],
      peer: { name: "bomb, kernel chooses", source: ["our bomb", "seconds"] },
      reach: { ratio: 5 },
      limit:
        "One connection after the other; nobody searches. As fast as any other 28,232 connections.",
    },
    {
      what: "full port range, the kernel chooses",
      unit: "s",
      better: "less",
      ours: ["our bomb", "seconds"],
      peer: { name: "C loop", source: ["C loop", "seconds"] },
      reach: { ratio: 1 },
      limit: `${SEARCH} The rest is ours: 30 to 60 microseconds for each connection, in Node and in system calls that a blocking C program does not make.`,
    },
  ],
  growth: [
    {
      what: "fill, the kernel chooses",
      of: "ports",
      loads: [282, 2_823, 28_232],
      unit: "s",
      source: ["our bomb", "seconds"],
      kind: "total",
      reason: "The kernel's search is quadratic; C has the same curve.",
    },
    {
      what: "fill, --walk-ports",
      of: "ports",
      loads: [282, 2_823, 28_232],
      unit: "s",
      source: ["our bomb, --walk-ports", "seconds"],
      kind: "total",
    },
  ],
};
