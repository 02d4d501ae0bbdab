/** multiplex-report: many connections, few threads: the numbers of both sides. */
import Table from "cli-table3";
import type { MultiplexResult } from "../programs/multiplex.ts";
import { bytes, count, ms } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";
import { failureLines } from "./visits-report.ts";

/** The story at the end. */
export function multiplexReport(result: MultiplexResult): string {
  const { opened, exchanged } = result;
  const { latency } = exchanged;
  const perSecond = Math.round((exchanged.answered * 1_000) / exchanged.durationMs);
  return [
    ...(result.how === "in-turns"
      ? [`connections ${count(result.connections)}, one after the other`]
      : [
          `connections ${count(opened.open)} of ${count(result.connections)} open at once, after ${ms(opened.durationMs)}`,
        ]),
    `messages    ${count(exchanged.answered)} of ${count(exchanged.sent)} answered in ${ms(exchanged.durationMs)}, ${count(perSecond)}/s`,
    ...(latency === undefined
      ? []
      : [
          `round trip  p50 ${ms(latency.p50Ms)}, p90 ${ms(latency.p90Ms)}, p99 ${ms(latency.p99Ms)}, max ${ms(latency.maxMs)}`,
        ]),
    ...failureLines(exchanged.failures),
    "",
    sidesTable(result),
  ].join("\n");
}

function sidesTable({ connections, client, server }: MultiplexResult): string {
  const sides = [
    ["client", client],
    ["server", server],
  ] as const;
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["", "threads", "descriptors", "RSS before", "RSS", "per connection"],
    colAligns: ["left", "right", "right", "right", "right", "right"],
  });
  for (const [name, side] of sides) {
    if (side === undefined) continue;
    const { before, open } = side;
    table.push([
      name,
      `${before.threads} -> ${open.threads}`,
      `${count(before.descriptors)} -> ${count(open.descriptors)}`,
      bytes(before.rssBytes),
      bytes(open.rssBytes),
      bytes((open.rssBytes - before.rssBytes) / connections),
    ]);
  }
  return table.toString();
}
