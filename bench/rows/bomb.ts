/** bomb: connections opened and closed per second, one at a time, beside a C program that does the same. */
import { runProgram, startServer } from "../../lib/lab/program.ts";
import type { Contest, Figures } from "../lib/contest.ts";
import { DEEP_QUEUE } from "../lib/listening.ts";
import { COMPILER, runPeer } from "../lib/peer.ts";

type Bombed = { readonly ratePerSecond: number; readonly failures: object };

async function bomb(durationMs: number, ...flags: readonly string[]): Promise<Figures> {
  const { port } = await startServer(["--port", "0", ...DEEP_QUEUE]);
  const result = await runProgram<Bombed>("bomb", [
    ...["--port", `${port}`, "--duration-ms", `${durationMs}`],
    ...flags,
  ]);
  if (Object.keys(result.failures).length > 0)
    throw new Error(`bomb failed: ${JSON.stringify(result.failures)}`);
  return { perSecond: result.ratePerSecond };
}

async function loop(durationMs: number, ...words: readonly string[]): Promise<Figures> {
  const said = await runPeer(durationMs, ...words);
  if (said.error !== "") throw new Error(`the C loop failed: ${said.error}`);
  return { perSecond: (said.opened * 1_000) / said.durationMs };
}

export const bombContest: Contest = {
  name: "bomb",
  load: { full: 4_000, quick: 300 },
  runs: 5,
  contestants: {
    "our bomb": { run: (durationMs) => bomb(durationMs) },
    "C loop": { needs: COMPILER, run: (durationMs) => loop(durationMs) },
    "our bomb, RST": {
      isOnOneCore: true,
      run: (durationMs) => bomb(durationMs, "--leave", "reset"),
    },
    "C loop, RST": {
      isOnOneCore: true,
      needs: COMPILER,
      run: (durationMs) => loop(durationMs, "reset"),
    },
  },
  lines: [
    {
      what: "bomb: connections per second, tcp_tw_reuse=2",
      unit: "1/s",
      better: "more",
      ours: ["our bomb", "perSecond"],
      peer: { name: "C loop", source: ["C loop", "perSecond"] },
      reach: { ratio: 0.9 },
      limit:
        "The search for a port, not the program: connect() takes ports of one parity, 14,116 of 28,232, as long as one of them is free, and each comes back after tcp_tw_reuse_delay, one second. " +
        "Beyond 14,116 per second it looks at all of these before it takes another, which costs milliseconds: so neither side gets far beyond.",
    },
    {
      what: "the same with RST: no port has to wait",
      unit: "1/s",
      better: "more",
      ours: ["our bomb, RST", "perSecond"],
      peer: { name: "C loop", source: ["C loop, RST", "perSecond"] },
      limit:
        "Here programs are compared, and both ends of ours are Node: of 42 microseconds for a connection the bomb has 23 and the server 19, where C needs 10 for both ends, nearly all of them in the kernel. " +
        "perf finds 44 % of bomb's time in the kernel, half of that in connect(2), and 20 % in V8, which makes a hidden class for the options of each socket; the server has a socket's options from Node itself, and 21 % of that.",
    },
  ],
};
