/** machine: what the machine charges for every other line, with no program of anybody between. */
import type { Contest } from "../lib/contest.ts";
import { allowedCores } from "../lib/cores.ts";
import { COMPILER, runDistance, runLoopback } from "../lib/peer.ts";

export const machineContest: Contest = {
  name: "machine",
  load: { full: 1, quick: 1 },
  runs: 23,
  contestants: {
    distance: {
      needs: COMPILER,
      isOutside: true,
      run: async () => (allowedCores().length > 1 ? runDistance() : { missing: "only one core" }),
    },
    loopback: { needs: COMPILER, isOnOneCore: true, run: runLoopback },
  },
  lines: [
    {
      what: "the floor: a cache line from one core to the other",
      unit: "ns",
      better: "less",
      ours: ["distance", "nanoseconds"],
      limit:
        "The hardware, and on a virtual machine the host, which moves processors: near where they share a cache, far where they do not. " +
        "Brackets from tens to hundreds are such a host.",
    },
    {
      what: "the floor: 40 bytes over loopback, sent and received by one process",
      unit: "ns",
      better: "less",
      ours: ["loopback", "nanoseconds"],
      limit:
        "The kernel, and nothing else: two system calls, and TCP twice. How long it takes is a matter of the processor and of what the kernel does " +
        "against attacks on it, which makes each return from a function dearer on some.",
    },
  ],
};
