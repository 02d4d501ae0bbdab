/** labs: how long the demo and all labs take, as a newcomer runs them. */
import { join } from "node:path";
import { diesWithParent } from "../../lib/kernel/process.ts";
import { command, timeMs } from "../lib/clock.ts";
import type { Contest } from "../lib/contest.ts";

const LAB = join(import.meta.dirname, "../../cmd/lab.js");

/** No sandbox is around it that would take it along. */
function lab(...words: readonly string[]): () => unknown {
  const [file = "", ...rest] = diesWithParent([process.execPath, LAB, ...words]);
  return command(file, ...rest);
}

export const demoContest: Contest = {
  name: "demo",
  isLong: true,
  load: { full: 1, quick: 1 },
  runs: 3,
  contestants: {
    demo: {
      isOutside: true,
      run: () => Promise.resolve({ seconds: timeMs(lab("demo")) / 1_000 }),
    },
  },
  lines: [
    {
      what: "make demo, built already",
      unit: "s",
      better: "less",
      ours: ["demo", "seconds"],
      reach: { atMost: 20 },
      limit:
        "Kernel timers that are part of the story, and Node's start: each arm starts two or three programs.",
    },
  ],
};

export const labsContest: Contest = {
  name: "labs",
  isLong: true,
  load: { full: 2, quick: 2 },
  runs: 1,
  contestants: {
    labs: {
      isOutside: true,
      run: (jobs) => {
        const run = lab("run", "--all", "--jobs", `${jobs}`);
        return Promise.resolve({ seconds: timeMs(run) / 1_000 });
      },
    },
  },
  lines: [
    {
      what: "all labs, two at a time",
      unit: "s",
      better: "less",
      ours: ["labs", "seconds"],
      reach: { atMost: 120 },
      limit: "Time-outs of the kernel that cannot be shortened, and nothing to do meanwhile.",
    },
  ],
};
