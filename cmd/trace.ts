#!/usr/bin/env node
/**
 * trace: one connection as system calls, packets and states on one clock.
 *
 * Two programs of ours talk in a private network, or any command of yours does, under strace and tcpdump, while the socket table is
 * looked at. Nothing is drawn from memory: every row was recorded.
 *
 * NEEDS   strace and tcpdump; root only for --pid of others and for packets outside a sandbox
 * CAVEAT  strace stops a program twice at every call: order and causes are real, durations are not
 * SEE     docs/trace.md
 */
import { choice, flag, integer, optional, toggle, words, type Values } from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Analysis } from "../lib/trace/analysis.ts";
import type { Order } from "../lib/trace/order.ts";
import { SCENARIO_NAMES, SCENARIOS, type ScenarioName } from "../lib/trace/scenarios.ts";

const flags = {
  scenario: flag(choice(...SCENARIO_NAMES), "close", {
    about: `What to show: ${SCENARIO_NAMES.join(", ")}`,
    metavar: "NAME",
    alias: "s",
  }),
  connections: flag(integer(1, 1_000), 1, {
    about: "So many at the same time; compares one with many",
    metavar: "N",
    alias: "c",
  }),
  wait: toggle({ about: "Stay until TIME_WAIT has ended: 60 s" }),
  pid: optional(integer(1), { about: "Trace a running process instead", metavar: "PID" }),
  "for-ms": flag(integer(1, 3_600_000), 10_000, {
    about: "With --pid: for how long; Ctrl-C ends it earlier",
    metavar: "MS",
  }),
  here: toggle({ about: "Run COMMAND in this machine's own network, not in a private one" }),
  show: flag(integer(1, 1_000_000), 1, {
    about: "Which of several conversations to show",
    metavar: "N",
  }),
  mermaid: toggle({ about: "Print a sequence diagram for Mermaid" }),
  json: toggle({ about: "Print everything as JSON" }),
  save: optional(words, {
    about: "Keep strace's text, the capture (Wireshark reads it) and the JSON there",
    metavar: "DIR",
  }),
  columns: optional(integer(72, 1_000), {
    about: "Width of the table",
    metavar: "N",
    defaultText: "the terminal's",
  }),
};

const timeline = command({
  name: "trace",
  summary: "one connection as system calls, packets and states on one clock",
  flags,
  words: "[latency|fds PID|-- COMMAND..]",
  examples: [
    ["trace", "one echo, from socket() to TIME_WAIT"],
    ["trace --scenario reset --mermaid", "another story, as a diagram"],
    ["trace -c 23", "one connection, and what 23 cost"],
    ["trace -- sh -c 'ncat -l 4000 & sleep 1; ncat localhost 4000 </dev/null'", "your own"],
    ["sudo trace --pid 4711", "a running process"],
    ["trace latency", "percentiles over many connections; see trace latency --help"],
    ["trace fds 4711", "the sockets behind a process's descriptors"],
  ],
  run: async (values, io, argv) => {
    const order = await orderOf(values, argv);
    if (!values.json) {
      const { wrapped } = await import("../lib/report/format.ts");
      io.err(`${wrapped(aboutOf(order), "trace: ")}\n       Ctrl-C to stop.`);
    }
    const [{ record }, { prepareFolder }] = await Promise.all([
      import("../lib/trace/record.ts"),
      import("../lib/trace/save.ts"),
    ]);
    if (values.save !== undefined) prepareFolder(values.save);
    const recording = await record(order, io.signal);
    if (recording === undefined) return 130;
    const { analyse } = await import("../lib/trace/analysis.ts");
    const scenario = order.kind === "scenario" ? order.name : undefined;
    const analysis = analyse(recording, scenario, values.show - 1);
    await print(analysis, values, io);
    const { exitCode } = recording.traced[0] ?? { exitCode: 0 };
    if (order.kind === "command" && exitCode !== 0 && !io.signal.aborted)
      io.err(`trace: the command ended with ${exitCode}`);
    const failed = analysis.checks.filter(({ held }) => !held);
    // The table has them; a diagram has no place for them.
    if (values.mermaid) for (const { text, found } of failed) io.err(`trace: ${text}: ${found}`);
    return failed.length === 0 ? 0 : 1;
  },
});

const latency = command({
  name: "trace latency",
  summary: "how long the parts of a connection take, over many of them",
  flags: {
    connections: flag(integer(1, 10_000), 1_000, {
      about: "How many, one after the other",
      metavar: "N",
      alias: "c",
    }),
    json: toggle({ about: "Print the percentiles as JSON" }),
  },
  examples: [["trace latency", "handshake, connect(), accept(), wake-ups: percentiles"]],
  run: async ({ connections, json }, io) => {
    const [{ record }, { findRung }] = await Promise.all([
      import("../lib/trace/record.ts"),
      import("../lib/kernel/sandbox.ts"),
    ]);
    if (!json) io.err(`trace latency: ${connections} connections, twice. Ctrl-C to stop.`);
    const order = { kind: "latency", connections, rung: await findRung() } as const;
    const recording = await record(order, io.signal);
    if (recording === undefined) return 130;
    const [{ latencies }, report, { theme }] = await Promise.all([
      import("../lib/trace/latency.ts"),
      import("../lib/report/trace-latency.ts"),
      import("../lib/report/lab-report.ts"),
    ]);
    const found = latencies(recording);
    io.out(json ? report.latencyJson(found) : report.latencyReport(found, theme(io.color.out)));
    return 0;
  },
});

const fds = command({
  name: "trace fds",
  summary: "the descriptors of a process and the sockets behind them: queues, buffers, timers",
  flags: { json: toggle({ about: "Print them as JSON" }) },
  words: "PID",
  examples: [["trace fds 4711", "listening and connection sockets told apart"]],
  run: async ({ json }, io, [word, another]) => {
    if (another !== undefined || !/^[1-9]\d*$/.test(word ?? ""))
      throw new UsageError(`trace fds needs one PID, got ${JSON.stringify(another ?? word ?? "")}`);
    const pid = Number(word);
    const [{ kernelObjects }, report, { theme }] = await Promise.all([
      import("../lib/trace/kernel-objects.ts"),
      import("../lib/report/trace-fds.ts"),
      import("../lib/report/lab-report.ts"),
    ]);
    const found = await kernelObjects(pid);
    io.out(
      json
        ? report.kernelObjectsJson(found)
        : report.kernelObjectsReport(found, theme(io.color.out)),
    );
    return 0;
  },
});

/** What the words ask for; what does not go together is said. */
async function orderOf(
  values: Values<typeof flags>,
  argv: readonly string[],
): Promise<TimelineOrder> {
  const { pid, here, scenario, connections, wait } = values;
  if (pid !== undefined && argv.length > 0)
    throw new UsageError("--pid and a command exclude each other");
  refuseIdle(values, pid !== undefined ? "--pid" : argv.length > 0 ? "a command" : "a scenario");
  if (pid !== undefined) return { kind: "attach", pid, forMs: values["for-ms"], rung: "here" };
  if (here && argv.length === 0)
    throw new UsageError("--here needs a command: trace --here -- COMMAND");
  if (connections > 1 && !SCENARIOS[scenario].takesConnections)
    throw new UsageError(
      `--scenario ${scenario} is about one connection; --connections does not go with it`,
    );
  const { findRung } = await import("../lib/kernel/sandbox.ts");
  const rung = here ? "here" : await findRung();
  if (argv.length > 0) return { kind: "command", argv, rung };
  return { kind: "scenario", name: scenario, connections, wait, rung };
}

/** Flags without a meaning. */
const IDLE = {
  "--pid": ["scenario", "connections", "wait", "here"],
  "a command": ["scenario", "connections", "wait", "for-ms"],
  "a scenario": ["for-ms"],
} as const;

/** A flag that would have no effect is a mistake of its user's, as one of two ways to print would. */
function refuseIdle(values: Values<typeof flags>, what: keyof typeof IDLE): void {
  const idle = IDLE[what].find((name) => values[name] !== flags[name].default);
  if (idle !== undefined) throw new UsageError(`--${idle} has no meaning with ${what}; see --help`);
  if (values.json && values.mermaid)
    throw new UsageError("--json and --mermaid exclude each other");
}

type TimelineOrder = Exclude<Order, { readonly kind: "latency" }>;

function aboutOf(order: TimelineOrder): string {
  switch (order.kind) {
    case "scenario":
      return `${order.name}: ${SCENARIOS[order.name satisfies ScenarioName].about}.`;
    case "command":
      return `${order.argv.join(" ")}.`;
    case "attach":
      return `pid ${order.pid}, for ${order.forMs / 1_000} s.`;
  }
}

async function print(analysis: Analysis, values: Values<typeof flags>, io: Io): Promise<void> {
  const { timeline, conversations, recording } = analysis;
  const [{ traceReport, workloadTable }, { theme }, { traceMermaid }, { traceJson }] =
    await Promise.all([
      import("../lib/report/trace-table.ts"),
      import("../lib/report/lab-report.ts"),
      import("../lib/report/trace-mermaid.ts"),
      import("../lib/report/trace-json.ts"),
    ]);
  const { json, mermaid, save } = values;
  if (save !== undefined) {
    const { saveRecording } = await import("../lib/trace/save.ts");
    const files = saveRecording(recording, save, traceJson(analysis));
    io.err(`trace: saved in ${save}: ${files.join(", ")}`);
  }
  // Only now is known how many there are; what was recorded is not lost by it.
  if (timeline === undefined && conversations.length > 0)
    throw new UsageError(`--show: ${rangeText(conversations.length)}, got ${values.show}`);
  if (json) {
    io.out(traceJson(analysis));
    return;
  }
  if (mermaid && timeline !== undefined) {
    io.out(traceMermaid(timeline));
    return;
  }
  io.out(traceReport(analysis, values.columns ?? io.columns, theme(io.color.out)));
  if (conversations.length > 1) io.out(`\n${workloadTable(analysis)}`);
}

function rangeText(conversations: number): string {
  return conversations === 1
    ? "there is 1 conversation, so it takes 1"
    : `there are ${conversations} conversations, so it takes 1 to ${conversations}`;
}

await main({
  name: "trace",
  summary: "one connection as system calls, packets and states on one clock",
  commands: [latency, fds],
  otherwise: timeline,
});
