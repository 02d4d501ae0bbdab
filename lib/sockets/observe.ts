/** observe: one instant through every observer that this machine has. */
import { capture, CaptureError, readProcNet } from "./capture.ts";
import { isKeptAsTimeWait, readKernelNumbers } from "./kernel-numbers.ts";
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
 * @throws CaptureError where there is no /proc/net/tcp; or when `signal` aborts; a missing tool is only noted.
 */
export async function observe(signal?: AbortSignal): Promise<Observed> {
  const options = { details: true, ...(signal === undefined ? {} : { signal }) };
  const before = readProcNet();
  const asked = TOOLS.map((source) =>
    capture(source, options).then(
      ({ table }): Observation => ({ observer: source, records: tcpOf(table.records) }),
      (error: unknown) => {
        if (error instanceof CaptureError && signal?.aborted !== true) return error.message;
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
  const { timeWait, inUse4, inUse6, established } = readKernelNumbers();
  const numbers = [
    {
      name: "sockstat tw",
      value: timeWait,
      meaning: "what is kept as TIME_WAIT, a closed FIN_WAIT2 too",
      predict: counting(isKeptAsTimeWait),
    },
    {
      name: "sockstat inuse",
      value: inUse4,
      meaning: "IPv4 sockets, those not kept as TIME_WAIT",
      predict: counting(isFull(4)),
    },
    {
      name: "sockstat6 inuse",
      value: inUse6,
      meaning: "the same for IPv6",
      predict: counting(isFull(6)),
    },
    {
      name: "CurrEstab",
      value: established,
      meaning: "ESTABLISHED and CLOSE_WAIT (RFC 4022)",
      predict: counting(({ state }) => state === "ESTABLISHED" || state === "CLOSE_WAIT"),
    },
  ];
  return numbers.flatMap(({ value, ...number }) =>
    value === undefined ? [] : [{ ...number, value }],
  );
}

function counting(isMeant: (record: SocketRecord) => boolean): KernelNumber["predict"] {
  return (records) => records.filter(isMeant).length;
}

/** Requests that wait for their last ACK are no full sockets yet. */
function isFull(family: 4 | 6): (record: SocketRecord) => boolean {
  return (record) =>
    record.family === family && record.state !== "SYN_RECV" && !isKeptAsTimeWait(record);
}
