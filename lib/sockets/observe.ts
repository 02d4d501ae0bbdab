/** observe: one instant through every observer that this machine has. */
import { readFileSync } from "node:fs";
import { capture, CaptureError, readProcNet } from "./capture.ts";
import { ownedBy, readOwners } from "./owners.ts";
import type { KernelNumber, Observation, Observations } from "./reconcile.ts";
import type { SocketRecord } from "./record.ts";

/** What was observed, and which observers are missing. */
export type Observed = { readonly observations: Observations; readonly notes: readonly string[] };

const TOOLS = ["ss", "netstat", "lsof"] as const;

/**
 * Asks ss, netstat, lsof and /proc/PID/fd at the same time, between two readings of /proc/net/tcp and tcp6, and reads the
 * numbers that the kernel keeps beside.
 *
 * @throws CaptureError where there is no /proc/net/tcp; a missing tool is only noted.
 */
export async function observe(signal?: AbortSignal): Promise<Observed> {
  const options = { details: true, ...(signal === undefined ? {} : { signal }) };
  const before = readProcNet();
  const asked = TOOLS.map((source) =>
    capture(source, options).then(
      ({ table }): Observation => ({ observer: source, records: tcpOf(table.records) }),
      (error: unknown) => {
        if (error instanceof CaptureError) return error.message;
        throw error;
      },
    ),
  );
  const answers = await Promise.all(asked);
  const owners = readOwners();
  const after = readProcNet();
  const kernel = kernelNumbers();
  const owned = (records: readonly SocketRecord[]): SocketRecord[] =>
    records.map((record) => ownedBy(owners, record));
  const held = owned(after).filter((record) => record.owners.length > 0);
  return {
    observations: {
      before: owned(before),
      after: owned(after),
      others: [
        ...answers.filter((answer) => typeof answer !== "string"),
        { observer: "fd", records: held },
      ],
      kernel,
    },
    notes: answers.filter((answer) => typeof answer === "string"),
  };
}

function tcpOf(records: readonly SocketRecord[]): readonly SocketRecord[] {
  return records.filter(({ protocol }) => protocol === "tcp");
}

function kernelNumbers(): KernelNumber[] {
  const sockstat = readText("/proc/net/sockstat");
  const sockstat6 = readText("/proc/net/sockstat6");
  const [names = "", values = ""] = readText("/proc/net/snmp")
    .split("\n")
    .filter((line) => line.startsWith("Tcp:"));
  const established = values.split(" ")[names.split(" ").indexOf("CurrEstab")];
  return [
    [
      "sockstat tw",
      numberBehind(sockstat, "tw"),
      "what is kept as TIME_WAIT, a closed FIN_WAIT2 too",
      keptByTimer,
    ],
    [
      "sockstat inuse",
      numberBehind(sockstat, "inuse"),
      "IPv4 sockets, those not kept as TIME_WAIT",
      inUse(4),
    ],
    ["sockstat6 inuse", numberBehind(sockstat6, "inuse"), "the same for IPv6", inUse(6)],
    ["CurrEstab", Number(established), "ESTABLISHED and CLOSE_WAIT (RFC 4022)", currEstab],
  ].flatMap(([name, value, meaning, predict]) =>
    Number.isNaN(value) ? [] : [{ name, value, meaning, predict } as KernelNumber],
  );
}

/** A closed FIN_WAIT2 becomes a TIME_WAIT socket that only still shows its old state (tcp_time_wait() in the kernel). */
function isKeptByTimer({ state, timer }: SocketRecord): boolean {
  return state === "TIME_WAIT" || (state === "FIN_WAIT2" && timer?.name === "timewait");
}

function keptByTimer(records: readonly SocketRecord[]): number {
  return records.filter(isKeptByTimer).length;
}

/** Requests that wait for their last ACK are no full sockets yet. */
function inUse(family: 4 | 6): (records: readonly SocketRecord[]) => number {
  return (records) =>
    records.filter(
      (record) => record.family === family && record.state !== "SYN_RECV" && !isKeptByTimer(record),
    ).length;
}

function currEstab(records: readonly SocketRecord[]): number {
  return records.filter(({ state }) => state === "ESTABLISHED" || state === "CLOSE_WAIT").length;
}

function numberBehind(text: string, name: string): number {
  const line = text.split("\n").find((candidate) => /^TCP6?: /.test(candidate));
  const words = line?.split(" ") ?? [];
  const at = words.indexOf(name);
  return at < 0 ? NaN : Number(words[at + 1]);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
