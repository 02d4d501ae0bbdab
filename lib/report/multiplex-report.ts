/** multiplex-report: many connections, few threads: the numbers of both sides and of the kernel. */
import Table from "cli-table3";
import type { MultiplexResult } from "../programs/multiplex.ts";
import type { Percentiles } from "../protocol/percentiles.ts";
import { bytes, count, ms, WIDTH, wrapped } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";
import { failureLines, NOBODY_LISTENS } from "./visits-report.ts";

/** What it says before it starts; `where` is an address, with a port where the server is somebody else's. */
export function multiplexOpening(connections: number, where: string, processes: number): string {
  const shared =
    processes === 1 ? "" : `, shared among ${processes} processes, each with a server of its own`;
  return wrapped(`multiplex: ${connections} connections to ${where}${shared}. Ctrl-C to stop.`);
}

/** The story at the end. */
export function multiplexReport(result: MultiplexResult): string {
  const { opened, exchanged, states } = result;
  // Those that failed meanwhile have been open, and are no more.
  const when = states.clients.ESTABLISHED === opened.open ? "" : ", when it was over";
  const perSecond = Math.round((exchanged.answered * 1_000) / exchanged.durationMs);
  return [
    ...(result.how === "in-turns"
      ? [`connections ${count(result.connections)}, one after the other`]
      : [
          `connections ${count(opened.open)} of ${count(result.connections)} open at once, after ${ms(opened.durationMs)}`,
          `kernel      ${count(states.clients.ESTABLISHED)} ESTABLISHED at our end, ${count(states.server.ESTABLISHED)} at the server's${when}`,
        ]),
    `messages    ${count(exchanged.answered)} of ${count(exchanged.sent)} answered in ${ms(exchanged.durationMs)}, ${count(perSecond)}/s`,
    ...roundTrips(exchanged.latencies),
    ...failureLines(exchanged.failures),
    ...(opened.open === 0 && exchanged.failures["ECONNREFUSED"] !== undefined
      ? [NOBODY_LISTENS]
      : []),
    "",
    sidesTable(result),
    ...kernelLine(result),
  ].join("\n");
}

/** Percentiles of several processes cannot be added up: the lowest and the highest of each are shown. */
function roundTrips(latencies: readonly Percentiles[]): string[] {
  if (latencies.length === 0) return [];
  const range = (of: "p50Ms" | "p90Ms" | "p99Ms" | "maxMs"): string => {
    const values = latencies.map((latency) => latency[of]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low === high ? ms(low) : `${ms(low)} to ${ms(high)}`;
  };
  const shares = [
    `p50 ${range("p50Ms")}`,
    `p90 ${range("p90Ms")}`,
    `p99 ${range("p99Ms")}`,
    `max ${range("maxMs")}`,
  ];
  const line = `round trip  ${shares.join(", ")}`;
  return [line.length <= WIDTH ? line : `round trip  ${shares.join(`\n${" ".repeat(12)}`)}`];
}

function sidesTable({ connections, client, server }: MultiplexResult): string {
  const sides = [
    ["client", client],
    ["server", server],
  ] as const;
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["", "processes", "threads", "descriptors", "RSS before", "RSS", "each"],
    colAligns: ["left", "right", "right", "right", "right", "right", "right"],
  });
  for (const [name, side] of sides) {
    if (side === undefined) continue;
    const { processes, before, open } = side;
    const grown = open.rssBytes - before.rssBytes;
    table.push([
      name,
      processes,
      before.threads === open.threads ? open.threads : `${before.threads} -> ${open.threads}`,
      `${count(before.descriptors)} -> ${count(open.descriptors)}`,
      bytes(before.rssBytes),
      bytes(open.rssBytes),
      // Few connections drown in what a process gives back meanwhile.
      grown > 0 ? bytes(grown / connections) : "-",
    ]);
  }
  return table.toString();
}

/** Too few connections drown in what else the machine does. */
function kernelLine({ kernel, opened }: MultiplexResult): string[] {
  if (opened.open < 1_000) return [];
  const grown = kernel.open.slabBytes - kernel.before.slabBytes;
  return [
    `kernel slab: ${bytes(kernel.before.slabBytes)} -> ${bytes(kernel.open.slabBytes)}, ` +
      `${bytes(grown / opened.open)} for each connection, both ends`,
  ];
}
