/** kernel-numbers: what the kernel counts itself, beside its socket table. Cheap at any number of sockets. */
import { readFileSync } from "node:fs";
import type { SocketRecord } from "./record.ts";

/** Numbers of this network namespace. Undefined where the kernel does not have them. */
export type KernelNumbers = {
  /** `tw` of /proc/net/sockstat: sockets that are kept as TIME_WAIT. */
  readonly timeWait: number | undefined;
  /** `inuse` of /proc/net/sockstat and sockstat6: full sockets. */
  readonly inUse4: number | undefined;
  readonly inUse6: number | undefined;
  /** CurrEstab of /proc/net/snmp: ESTABLISHED and CLOSE_WAIT (RFC 4022). */
  readonly established: number | undefined;
};

/** Reads them. */
export function readKernelNumbers(): KernelNumbers {
  const sockstat = readText("/proc/net/sockstat");
  return {
    timeWait: numberIn(sockstat, "TCP:", "tw"),
    inUse4: numberIn(sockstat, "TCP:", "inuse"),
    inUse6: numberIn(readText("/proc/net/sockstat6"), "TCP6:", "inuse"),
    established: currEstab(readText("/proc/net/snmp")),
  };
}

/**
 * A closed FIN_WAIT2 becomes a TIME_WAIT socket that only still shows its old state (tcp_time_wait() in the kernel): it
 * is in `tw`, and its timer is that of TIME_WAIT.
 */
export function isKeptAsTimeWait({ state, timer }: SocketRecord): boolean {
  return state === "TIME_WAIT" || (state === "FIN_WAIT2" && timer?.name === "timewait");
}

/** `TCP: inuse 37 orphan 4 tw 3`: a line of names and values in turn. */
function numberIn(text: string, prefix: string, name: string): number | undefined {
  const words =
    text
      .split("\n")
      .find((line) => line.startsWith(`${prefix} `))
      ?.split(" ") ?? [];
  const at = words.indexOf(name);
  return at < 0 ? undefined : Number(words[at + 1]);
}

/** /proc/net/snmp: a line of names, and below it one of values. */
function currEstab(text: string): number | undefined {
  const [names = [], values = []] = text
    .split("\n")
    .filter((line) => line.startsWith("Tcp:"))
    .map((line) => line.split(" "));
  const at = names.indexOf("CurrEstab");
  return at < 0 ? undefined : Number(values[at]);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
