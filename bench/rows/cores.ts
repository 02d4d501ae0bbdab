/** cores: how far apart two processors are, for the reader of every other line in which two programs talk. */
import type { Contest } from "../lib/contest.ts";
import { allowedCores } from "../lib/cores.ts";
import { COMPILER, runDistance } from "../lib/peer.ts";

export const coresContest: Contest = {
  name: "cores",
  load: { full: 1, quick: 1 },
  runs: 23,
  contestants: {
    distance: {
      needs: COMPILER,
      isOutside: true,
      run: async () => (allowedCores().length > 1 ? runDistance() : { missing: "only one core" }),
    },
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
  ],
};
