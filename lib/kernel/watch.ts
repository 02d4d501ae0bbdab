/**
 * watch: what a server can find out about its own exhaustion, at a time when it can open nothing any more.
 *
 * Node says nothing when accept(2) fails with EMFILE: libuv gives up a reserve descriptor, accepts what waits, and closes
 * it at once, without an event (uv__emfile_trick in libuv's src/unix/stream.c). The kernel has counted the handshakes
 * all the same.
 */
import { closeSync, openSync } from "node:fs";
import { counter, parseCounters } from "./counters.ts";
import { openDescriptors, parseLimit, type Limit } from "./process.ts";
import { openProcFile } from "./procfile.ts";

/** How many descriptors this process has open, how many it may have, and whether the next open fails. */
export type DescriptorUse = {
  readonly open: number;
  readonly limit: Limit;
  readonly isExhausted: boolean;
};

/** Files of /proc opened in good time. Holds four descriptors until `close()`. */
export type ProcessWatch = {
  /** Counts the descriptors, and tries to open one more: EMFILE is the proof that counting only suggests. */
  readonly descriptors: () => DescriptorUse;
  /** Handshakes completed by listeners of this network namespace since the watch began: TcpPassiveOpens. */
  readonly passiveOpens: () => number;
  /** The present rows of /proc/net/tcp, and of /proc/net/tcp6 after them where the kernel has IPv6: whole lines, headers included. */
  readonly socketTables: () => AsyncIterable<string>;
  readonly close: () => void;
};

/** Opens what will be needed later. */
export function openProcessWatch(): ProcessWatch {
  const limits = openProcFile("/proc/self/limits");
  const snmp = openProcFile("/proc/self/net/snmp");
  const tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].flatMap(openIfThere);
  const passiveOpens = (): number => counter(parseCounters(snmp.read()), "TcpPassiveOpens");
  const before = passiveOpens();
  return {
    descriptors: () => descriptorUse(parseLimit(limits.read(), "Max open files")),
    passiveOpens: () => passiveOpens() - before,
    socketTables: async function* () {
      for (const table of tables) yield* table.pieces();
    },
    close: () => [limits, snmp, ...tables].forEach((file) => file.close()),
  };
}

function openIfThere(path: string): ReturnType<typeof openProcFile>[] {
  try {
    return [openProcFile(path)];
  } catch {
    return [];
  }
}

/**
 * EMFILE means that every number below the limit is taken, so then nothing has to be counted. Counting would mislead, for a
 * descriptor inherited with a number above the limit takes no room, and before Linux 6.2 it would need a descriptor itself.
 */
function descriptorUse(limit: Limit): DescriptorUse {
  const isExhausted = !canOpenOneMore();
  return { open: isExhausted ? limit.soft : openDescriptors(), limit, isExhausted };
}

function canOpenOneMore(): boolean {
  try {
    closeSync(openSync("/dev/null", "r"));
    return true;
  } catch (error) {
    // ENFILE, too, is no limit of ours, but the machine's: no reason to end, and a server goes on with the connections that it has.
    return (error as NodeJS.ErrnoException).code !== "EMFILE";
  }
}
