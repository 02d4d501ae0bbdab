/** shares: how many processes many connections need, and whether the descriptor limit allows them. */
import { NeedsError } from "../kernel/errors.ts";
import { ephemeralPorts } from "../kernel/ports.ts";
import { descriptorLimit } from "../kernel/process.ts";

/** Descriptors that a Node process may need beside its sockets, with room to spare. */
const SPARE_DESCRIPTORS = 64;

/** More of them would only wait for a processor. */
export const MAX_PROCESSES = 64;

/** What a process and its server cost whoever has started them: two pipes, a channel, and one more while they start. */
const DESCRIPTORS_OF_A_PROCESS = 4;

/**
 * How many connections each process is to have; without a number of processes as few of them as the limits allow. Throws NeedsError
 * when the descriptor limit is too low: to be asked first, for loading the rest of a program takes descriptors, too.
 */
export function sharesOf(connections: number, processes?: number): readonly number[] {
  const count = processes ?? neededProcesses(connections);
  checkLimits(connections, count);
  const share = Math.ceil(connections / count);
  return Array.from({ length: count }, (_, index) =>
    Math.max(0, Math.min(share, connections - index * share)),
  ).filter((each) => each > 0);
}

const COUNTS = Array.from({ length: MAX_PROCESSES }, (_, index) => index + 1);

/** Descriptors for the largest share, and for whoever has started the others. */
function neededDescriptors(connections: number, processes: number): number {
  const toLead = processes === 1 ? 0 : processes * DESCRIPTORS_OF_A_PROCESS;
  return SPARE_DESCRIPTORS + Math.max(Math.ceil(connections / processes), toLead);
}

/**
 * The fewest that the limits allow; where none do, the number that needs the lowest limit. connect() looks at one half of the port range
 * first, the ports of one parity, and only when it has tried all of them at the other: connections beyond that half take a hundred
 * times longer to open. See docs/labs/port-search-cliff.md.
 */
function neededProcesses(connections: number): number {
  const needed = (processes: number): number => neededDescriptors(connections, processes);
  const { soft } = descriptorLimit();
  const half = ephemeralPorts().ports.length / 2;
  const possible = COUNTS.filter((processes) => needed(processes) <= soft);
  return (
    possible.find((processes) => Math.ceil(connections / processes) <= half) ??
    possible.at(-1) ??
    COUNTS.reduce((best, processes) => (needed(processes) < needed(best) ? processes : best))
  );
}

/** Finds out before the start what would otherwise be EMFILE in the middle, and in silence on the server's side. */
function checkLimits(connections: number, processes: number): void {
  const { soft } = descriptorLimit();
  const needed = neededDescriptors(connections, processes);
  if (soft >= needed) return;
  const enough = COUNTS.find((count) => neededDescriptors(connections, count) <= soft);
  const possible = soft - SPARE_DESCRIPTORS;
  const shared = processes === 1 ? "" : ` in ${processes} processes`;
  throw new NeedsError(
    [
      `${connections} connections${shared} need about ${needed} descriptors in each process; the limit here is ${soft}.`,
      `Raise the hard limit: ulimit -Hn ${needed} (as root), LimitNOFILE=${needed} (systemd),`,
      `--ulimit nofile=${needed} (docker). Node raises the soft limit by itself.`,
      ...(enough === undefined
        ? []
        : [
            `Or share them: multiplex --connections ${connections} --processes ${enough}, without --port.`,
          ]),
      ...(possible > 0 ? [`Or take fewer: multiplex --connections ${possible}`] : []),
    ].join("\n  "),
  );
}
