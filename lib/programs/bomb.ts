/** bomb: open and close connections between two looks at the kernel. Prints nothing. */
import { counterDelta, parseSockstat, readCounters } from "../kernel/counters.ts";
import { predictExhaustion, type Exhaustion } from "../kernel/exhaustion.ts";
import { ephemeralPorts, timeWaitReuse } from "../kernel/ports.ts";
import { openProcFile } from "../kernel/procfile.ts";
import { readNumericSysctl } from "../kernel/sysctl.ts";
import { Churn, type ChurnOptions, type ChurnResult } from "../protocol/churn.ts";
import { procTexts, readProcNet } from "../sockets/capture.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { procListenerView } from "../sockets/listener.ts";
import type { StateCounts } from "../sockets/record.ts";
import { takenPorts } from "../sockets/taken-ports.ts";

/** What is to be bombed, and how. */
export type BombOptions = Omit<ChurnOptions, "fillLevel" | "localPorts"> & {
  /** Bind each port of the range in turn, instead of letting the kernel search for a free one. */
  readonly walkPorts: boolean;
};

/** Both sides of the connections to the bombed ports, as far as they are on this machine. */
export type BothSides = { readonly clients: StateCounts; readonly server: StateCounts };

/** Everything that a bomb knows at its end. */
export type BombResult = ChurnResult & {
  readonly destination: string;
  readonly ratePerSecond: number;
  readonly predicted: Exhaustion;
  readonly before: BothSides;
  readonly after: BothSides;
  /** Kernel counters that moved meanwhile, in the whole network namespace. */
  readonly counters: Readonly<Record<string, number>>;
};

/** A bomb under way, at one instant. */
export type BombProgress = {
  readonly successes: number;
  readonly perSecond: number;
  /** TIME_WAITs in the whole network namespace, and FIN_WAIT2s without an owner, which the kernel counts with them. */
  readonly timeWait: number;
  /** The share of the port range that the bomb has used, from 0 to 1. */
  readonly fill: number;
};

/** A bomb that has made its prediction and waits for `explode()`. */
export type Bomb = {
  readonly predicted: Exhaustion;
  /** Tells how far it is every `everyMs`. Never rejects: failed connections are what it is looking for. */
  readonly explode: (
    onProgress: (now: BombProgress) => void,
    everyMs: number,
  ) => Promise<BombResult>;
};

const CLOSERS = { end: "client", reset: "reset", wait: "server" } as const;

/** Looks at the port range and at the connections there are, and predicts what will happen. */
export function prepareBomb(options: BombOptions): Bomb {
  const range = ephemeralPorts();
  const reuse = timeWaitReuse(options.host);
  const table = readProcNet();
  const takenPortsOf = (timeWaits: "count" | "come back"): readonly ReadonlySet<number>[] =>
    options.ports.map((port) => takenPorts(table, options.host, port, timeWaits));
  const lasting = takenPortsOf("come back");
  const predicted = predictExhaustion({
    range,
    taken: reuse.kind === "never" ? takenPortsOf("count") : lasting,
    lasting,
    closer: CLOSERS[options.leave],
    namesPorts: options.walkPorts,
    reuse,
    maxTimeWaits: readNumericSysctl("net.ipv4.tcp_max_tw_buckets", Infinity),
  });
  const localPorts = options.walkPorts ? range.ports : [];
  return {
    predicted,
    explode: (onProgress, everyMs) =>
      explode({ ...options, localPorts }, predicted, { onProgress, everyMs }),
  };
}

type Reporting = { readonly onProgress: (now: BombProgress) => void; readonly everyMs: number };

async function explode(
  options: Omit<ChurnOptions, "fillLevel">,
  predicted: Exhaustion,
  { onProgress, everyMs }: Reporting,
): Promise<BombResult> {
  const before = sides(options.ports);
  const counters = readCounters();
  // Asked a thousand times per second: it stays open.
  const sockstat = openProcFile("/proc/self/net/sockstat");
  const timeWait = (): number => parseSockstat(sockstat.read()).timeWait;
  // What waits for its end on these ports uses them, too; other TIME_WAITs have nothing to do with them.
  const waiting = "waiting" in predicted ? predicted.waiting : 0;
  const others = timeWait() - waiting;
  const fillLevel = (): number =>
    Math.max(0, Math.min(1, (timeWait() - others) / Math.max(1, predicted.capacity + waiting)));
  const churn = new Churn({ ...options, fillLevel });
  const startMs = performance.now();
  const timer = setInterval(() => {
    const { successes } = churn.progress;
    const perSecond = (successes * 1_000) / (performance.now() - startMs);
    onProgress({ successes, perSecond, timeWait: timeWait(), fill: fillLevel() });
  }, everyMs);
  const result = await churn.run();
  clearInterval(timer);
  sockstat.close();
  return {
    ...result,
    destination: options.ports
      .map((port) => endpointText({ address: options.host, port }))
      .join(", "),
    ratePerSecond: (result.successes * 1_000) / result.durationMs,
    predicted,
    before,
    after: sides(options.ports),
    counters: counterDelta(counters, readCounters()),
  };
}

function sides(ports: readonly number[]): BothSides {
  const { clients, server } = procListenerView(procTexts(), new Set(ports));
  return { clients, server };
}
