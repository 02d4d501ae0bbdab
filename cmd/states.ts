/**
 * states: count TCP sockets by state.
 *
 * Looks at this machine through ss, netstat, lsof or /proc, or reads what one of them printed elsewhere: any format, any
 * operating system. All 11 states are shown, and what the source cannot see is said below them. With --watch it looks
 * again and again: a table that repaints itself on a terminal, a line each time in a pipe.
 *
 * WATCH   TIME_WAIT on the side that closes first; CLOSE_WAIT where a program forgets to close.
 * CAVEAT  Two sources may rightly disagree: lsof lists descriptors, so it never shows TIME_WAIT.
 * SEE     docs/reference/formats.md
 */
import { setTimeout as sleep } from "node:timers/promises";
import { choice, flag, integer, optional, toggle } from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Values } from "../lib/cli/flags.ts";
import { FORMATS } from "../lib/sockets/formats.ts";
import { GROUPINGS, groupBy, predicateOf } from "../lib/sockets/filter.ts";
import { lookAtFile, lookLive, type Look, type LookOptions } from "../lib/sockets/look.ts";
import type { StateCounts } from "../lib/sockets/record.ts";
import { SOURCES } from "../lib/sockets/blind-spots.ts";

const formats = [...new Set(["auto", "netstat", "lsof", ...FORMATS.map(({ name }) => name)])];

const flags = {
  source: flag(choice("auto", ...SOURCES), "auto", {
    about: "Observer of this machine",
    metavar: "NAME",
  }),
  format: flag(choice(...formats), "auto", { about: "Format of FILE", metavar: "NAME" }),
  port: optional(integer(1, 65_535), {
    about: "Only sockets with this port, on either side",
    metavar: "N",
  }),
  by: optional(choice(...GROUPINGS), { about: `Group: ${GROUPINGS.join(", ")}`, metavar: "WHAT" }),
  watch: toggle({ about: "Look again and again; Ctrl-C ends" }),
  "interval-ms": flag(integer(20), 1_000, {
    about: "With --watch: time between looks",
    metavar: "MS",
  }),
  json: toggle({ about: "Print JSON; with --watch one object a line" }),
  records: toggle({ about: "With --json: every socket too" }),
};

const states = command({
  name: "states",
  summary: "count TCP sockets by state, on this machine or in a capture",
  flags,
  words: "[FILE|-]",
  examples: [
    ["states --watch", "this machine, once a second"],
    ["states --by process --port 443", "who talks HTTPS, and in which states"],
    ["ssh host netstat -tan | states -", "another machine"],
    ["states capture.txt --json", "a file, as JSON"],
  ],
  run: async (values, io, [path, ...more]) => {
    if (more.length > 0) throw new UsageError("states takes one FILE; see --help");
    if (path !== undefined && values.watch)
      throw new UsageError("--watch looks at this machine: it takes no FILE");
    const look = looker(values, io, path);
    return values.watch ? watch(values, io, look) : once(values, io, look);
  },
});

type Flags = Values<typeof flags>;

function looker(values: Flags, io: Io, path: string | undefined): () => Promise<Look> {
  const where = predicateOf({ port: values.port });
  const options: LookOptions = {
    want: values.by !== undefined || values.records ? "records" : "counts",
    details: values.by === "process" || values.records,
    signal: io.signal,
    ...(where === undefined ? {} : { where }),
  };
  if (path === undefined) return () => lookLive(values.source, options);
  return () => lookAtFile(path, values.format, options);
}

async function once(values: Flags, io: Io, look: () => Promise<Look>): Promise<number> {
  const seen = await look();
  io.out(values.json ? JSON.stringify(json(values, seen)) : await picture(values, io, seen));
  return 0;
}

async function watch(values: Flags, io: Io, look: () => Promise<Look>): Promise<number> {
  let before: StateCounts | undefined;
  let erase = "";
  try {
    for (;;) {
      const dueMs = performance.now() + values["interval-ms"];
      const seen = await look();
      const text = await frame(values, io, seen, before);
      io.out(erase + text);
      if (io.isTty.out && !values.json) erase = `\u001B[${text.split("\n").length}A\u001B[J`;
      before = seen.tally.counts;
      await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal: io.signal });
    }
  } catch (error) {
    if (io.signal.aborted) return 130;
    throw error;
  }
}

async function frame(values: Flags, io: Io, seen: Look, before?: StateCounts): Promise<string> {
  const time = new Date().toISOString();
  if (values.json) return JSON.stringify({ ...json(values, seen), time });
  if (io.isTty.out) return picture(values, io, seen, before ?? seen.tally.counts);
  const { compactCounts } = await import("../lib/report/states-table.ts");
  return `${time.slice(11, 19)} ${compactCounts(seen.tally.counts, before)}`;
}

async function picture(values: Flags, io: Io, seen: Look, before?: StateCounts): Promise<string> {
  const { groupsTable, statesTable } = await import("../lib/report/states-table.ts");
  const { counts, unstated } = seen.tally;
  const color = io.color.out;
  const table = statesTable({ ...seen, counts, unstated, before }, { color });
  if (values.by === undefined) return table;
  const groups = groupBy(seen.records ?? [], values.by);
  return `${table}\n\n${groupsTable(groups, { by: values.by, color })}`;
}

function json(values: Flags, { tally, records, from, notes }: Look): object {
  const by = values.by;
  return {
    version: 1,
    format: tally.format ?? null,
    from,
    counts: tally.counts,
    unstated: tally.unstated,
    ...(by === undefined ? {} : { by, groups: groupBy(records ?? [], by) }),
    ...(values.records ? { records } : {}),
    notes,
  };
}

await main(states);
