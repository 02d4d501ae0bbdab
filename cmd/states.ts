#!/usr/bin/env node
/**
 * states: count TCP sockets by state.
 *
 * Looks at this machine through ss, netstat, lsof or /proc, or reads what one of them printed elsewhere: any format, any
 * operating system. All 11 states are shown, and what the source cannot see is said below them. With --watch it looks
 * again and again: a table that repaints itself on a terminal, a line each time in a pipe. With --reconcile it asks all
 * observers at once, and says why they differ.
 *
 * WATCH   TIME_WAIT on the side that closes first; CLOSE_WAIT where a program forgets to close.
 * CAVEAT  Two sources may rightly disagree: lsof lists descriptors, so it never shows TIME_WAIT.
 * SEE     docs/reference/formats.md
 */
import { fstatSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import {
  choice,
  flag,
  integer,
  milliseconds,
  optional,
  toggle,
  words,
  type Values,
} from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import { SOURCES } from "../lib/sockets/blind-spots.ts";
import { GROUPINGS } from "../lib/sockets/groups.ts";
import type { Look, LookOptions } from "../lib/sockets/look.ts";
import { placesNamed } from "../lib/sockets/place.ts";
import type { StateCounts } from "../lib/sockets/record.ts";
import { statesNamed } from "../lib/sockets/state-names.ts";

const flags = {
  source: flag(choice("auto", ...SOURCES), "auto", {
    about: `Observer of this machine: auto, ${SOURCES.join(", ")}`,
    metavar: "NAME",
  }),
  format: flag(words, "auto", {
    about: "Format of FILE: auto, ss, netstat, lsof ...",
    metavar: "NAME",
  }),
  endian: flag(choice("little", "big"), "little", {
    about: "Machine that wrote /proc/net/tcp: little, big",
    metavar: "NAME",
  }),
  port: optional(integer(1, 65_535), { about: "Only this port, on either side", metavar: "N" }),
  local: optional(placesNamed, { about: "Only this port or address on our side", metavar: "TEXT" }),
  remote: optional(placesNamed, {
    about: "Only this port or address on the other side",
    metavar: "TEXT",
  }),
  state: optional(statesNamed, {
    about: "Only these states, with commas between",
    metavar: "NAMES",
  }),
  pid: optional(integer(1), { about: "Only sockets that this process holds", metavar: "N" }),
  family: optional(choice("4", "6"), { about: "Only IPv4 or IPv6: 4, 6", metavar: "N" }),
  by: optional(choice(...GROUPINGS), { about: `Group: ${GROUPINGS.join(", ")}`, metavar: "WHAT" }),
  watch: toggle({ about: "Look again and again; Ctrl-C ends" }),
  "interval-ms": flag(milliseconds(20), 1_000, {
    about: "With --watch: time between looks",
    metavar: "MS",
  }),
  json: toggle({ about: "Print JSON; with --watch one object a line" }),
  records: toggle({ about: "With --json: every socket too" }),
  explain: toggle({ about: "Account for every line that was read" }),
  reconcile: toggle({ about: "Ask all observers at once, and say why they differ" }),
};

type Flags = Values<typeof flags>;

const SAME_CTRL_C_MS = 50;

const states = command({
  name: "states",
  summary: "count TCP sockets by state, on this machine or in a capture",
  flags,
  words: "[FILE|-]",
  examples: [
    ["states --watch", "this machine, once a second"],
    ["states --by process --port 443", "who talks HTTPS, and in which states"],
    ["ssh host netstat -tan | states -", "another machine"],
  ],
  run: async (values, io, [path, ...more]) => {
    if (more.length > 0) throw new UsageError("states takes one FILE; see --help");
    if (path !== undefined && (values.watch || values.reconcile))
      throw new UsageError("--watch and --reconcile look at this machine: they take no FILE");
    refuseIdle(values, path);
    if (path === undefined && isPiped())
      io.err("states: this is this machine; what comes through the pipe is read with: states -");
    try {
      return await (values.reconcile ? reconcile(values, io) : look(values, io, path));
    } catch (error) {
      // What an interruption breaks off in the middle is no news to who interrupted. The writer of a pipe may have died of it a moment
      // before we hear of it.
      if (path === "-")
        await pause(SAME_CTRL_C_MS, undefined, { signal: io.signal }).catch(() => undefined);
      if (!io.signal.aborted) throw error;
      return 130;
    }
  },
});

/** Does somebody write to us, as in `ss -tan | states`? */
function isPiped(): boolean {
  try {
    return fstatSync(0).isFIFO();
  } catch {
    return false; // Closed: `states <&-`.
  }
}

/** A flag that would change nothing was meant to change something. */
function refuseIdle(values: Flags, path: string | undefined): void {
  if (values.records && !values.json) throw new UsageError("--records needs --json");
  const { source, "interval-ms": interval } = flags;
  if (!values.watch && values["interval-ms"] !== interval.default)
    throw new UsageError("--interval-ms needs --watch");
  if (path === undefined && values.format !== flags.format.default)
    throw new UsageError("--format is about a FILE; for standard input say -");
  if (path !== undefined && values.source !== source.default)
    throw new UsageError("--source observes this machine: it takes no FILE");
  if (!values.reconcile) return;
  const names = Object.keys(flags) as (keyof Flags)[];
  const idle = names.find(
    (name) => name !== "reconcile" && name !== "json" && values[name] !== flags[name].default,
  );
  if (idle !== undefined)
    throw new UsageError(`--reconcile compares whole tables: it takes no --${idle}`);
}

async function look(values: Flags, io: Io, path: string | undefined): Promise<number> {
  const { lookAtFile, lookLive, lookOften } = await import("../lib/sockets/look.ts");
  const options = lookOptions(values, io);
  if (path !== undefined) return print(values, io, await lookAtFile(path, values.format, options));
  // Elsewhere no tool knows owners.
  if (values.pid !== undefined && process.platform === "linux") {
    const { needSocketsHere } = await import("../lib/kernel/sandbox.ts");
    needSocketsHere(values.pid);
  }
  return values.watch
    ? watch(values, io, lookOften(values.source, options))
    : print(values, io, await lookLive(values.source, options));
}

function lookOptions(values: Flags, io: Io): LookOptions {
  const family = values.family === undefined ? undefined : values.family === "4" ? 4 : 6;
  // The table of --explain needs the reasons only; its JSON has every line.
  const isEveryLineShown = values.explain && values.json;
  const isEverySocket = values.by !== undefined || values.records;
  return {
    want: isEverySocket ? "records" : isEveryLineShown ? "lines" : "counts",
    details: values.by === "process" || values.records || values.pid !== undefined,
    filter: { ...values, states: values.state, family },
    by: values.by,
    signal: io.signal,
    endian: values.endian,
  };
}

async function print(values: Flags, io: Io, seen: Look): Promise<number> {
  io.out(values.json ? await json(values, seen) : await text(values, io, seen));
  return 0;
}

/** On a terminal the table is painted over the one before; in a pipe every look is one line, with the local time. */
async function watch(values: Flags, io: Io, look: () => Promise<Look>): Promise<number> {
  const { looks } = await import("../lib/sockets/look.ts");
  const { painting } = await import("../lib/report/repaint.ts");
  const { compactCounts } = await import("../lib/report/states-table.ts");
  let before: StateCounts | undefined;
  let erase = "";
  // After Ctrl-Z and fg the cursor is elsewhere: what stands above it is the shell's, too, and stays.
  process.on("SIGCONT", () => (erase = ""));
  for await (const seen of looks(look, values["interval-ms"], io.signal)) {
    const { counts } = seen.tally;
    const now = new Date();
    if (values.json) io.out(await json(values, seen, now));
    else if (io.isScreen.out) {
      const table = painting(await text(values, io, seen, before ?? counts), io);
      io.out(erase + table.text);
      erase = table.erase;
    } else io.out(`${now.toTimeString().slice(0, 8)} ${compactCounts(counts, before)}`);
    before = counts;
  }
  return 130;
}

async function text(values: Flags, io: Io, seen: Look, before?: StateCounts): Promise<string> {
  const { lookText } = await import("../lib/report/states-table.ts");
  return lookText(seen, { ...values, before, color: io.color.out });
}

async function json(values: Flags, seen: Look, time?: Date): Promise<string> {
  const { lookJson } = await import("../lib/sockets/json.ts");
  return JSON.stringify({ ...lookJson(seen, values), ...(time === undefined ? {} : { time }) });
}

async function reconcile(values: Flags, io: Io): Promise<number> {
  const { observe } = await import("../lib/sockets/observe.ts");
  const { reconcile } = await import("../lib/sockets/reconcile.ts");
  const { observations, notes } = await observe(io.signal);
  const result = reconcile(observations);
  const { reconcileTable } = await import("../lib/report/states-table.ts");
  io.out(
    values.json
      ? JSON.stringify({ version: 1, ...result, notes })
      : reconcileTable(result, { color: io.color.out, notes }),
  );
  return result.isReconciled ? 0 : 1;
}

await main(states);
