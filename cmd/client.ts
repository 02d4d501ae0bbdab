#!/usr/bin/env node
/**
 * client: one connection, or many at once: connect, send, check the echo, hold, leave in one of four ways. Or messages of JSON,
 * shown, typed, or counted and timed.
 *
 * WATCH   --leave half-close against a leaking server: FIN_WAIT2 with an owner; --leave end: without one
 * CAVEAT  --leave abandon never closes; Ctrl-C ends it, and then the kernel closes
 * SEE     docs/map.md, docs/protocol-client.md
 */
import { DEFAULT_PORTS, DEFAULT_PORTS_TEXT } from "../lib/cli/default-ports.ts";
import {
  choice,
  flag,
  integer,
  milliseconds,
  optional,
  toggle,
  words,
  type Flags,
  type Values,
} from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { jsonFlags, loadFlags } from "../lib/cli/json-client-flags.ts";
import { command, main, refuseFlags, UsageError } from "../lib/cli/main.ts";
import { REMOTE_RATE_PER_SECOND, resolveTarget, type Target } from "../lib/cli/target.ts";
import { isLoopback } from "../lib/kernel/ports.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import type { Server } from "../lib/programs/json-client.ts";
import { WAYS_TO_LEAVE, type WayToLeave } from "../lib/protocol/leave.ts";
import { endpointText } from "../lib/sockets/endpoint.ts";

const waysToLeave = Object.keys(WAYS_TO_LEAVE) as WayToLeave[];

const MODES = ["visit", "demo", "interactive", "performance"] as const;
type Mode = (typeof MODES)[number];

const common = {
  protocol: flag(choice("echo", "json"), "echo", {
    about:
      "What to speak: echo, or json, each message with its length before it; json alone is the demo",
    metavar: "NAME",
  }),
  host: flag(words, "127.0.0.1", { about: "Server to connect to", metavar: "HOST", env: "HOST" }),
  port: optional(integer(1, 65_535), {
    about: "Its port",
    metavar: "N",
    env: "PORT",
    alias: "p",
    defaultText: DEFAULT_PORTS_TEXT,
  }),
  "allow-remote": toggle({
    about: "Allow a server that is not on this machine",
    env: "ALLOW_REMOTE",
  }),
  json: toggle({ about: "Print what was seen as JSON" }),
};

const crowd = {
  connections: optional(integer(1, 100_000), {
    about: "Connections at the same time",
    metavar: "N",
    env: "CONNECTIONS",
    alias: "c",
    defaultText: "1, performance 50",
  }),
};

const visit = {
  message: flag(words, "hello, TCP", { about: "What to send", metavar: "TEXT" }),
  messages: flag(integer(0), 1, {
    about: "How many times, each after the echo of the last",
    metavar: "N",
  }),
  "hold-ms": flag(milliseconds(0), 0, {
    about: "Stay connected after the last echo",
    metavar: "MS",
  }),
  leave: flag(choice(...waysToLeave), "end", {
    about: "How to leave: see below",
    metavar: "HOW",
    meanings: WAYS_TO_LEAVE,
  }),
  "timeout-ms": flag(milliseconds(1), 5_000, {
    about: "Give up connecting, or waiting for an echo",
    metavar: "MS",
  }),
};

const flags = { ...common, ...crowd, ...visit, ...loadFlags, ...jsonFlags };
type Given = Values<typeof flags>;

/** Flags without a meaning. */
const FOREIGN: Readonly<Record<Mode, Flags>> = {
  visit: { ...loadFlags, ...jsonFlags },
  demo: { ...crowd, ...visit, ...loadFlags },
  interactive: { ...crowd, ...visit, ...loadFlags },
  performance: visit,
};

const JSON_MODES = { demo: showAll, interactive: talk, performance: measure };

await main(
  command({
    name: "client",
    summary: "connect, send, check the echo, leave in one of four ways; or messages of JSON",
    flags,
    words: "[demo|interactive|performance]",
    examples: [
      ["client", "one connection to 127.0.0.1:8080"],
      ["CONNECTIONS=23 client --hold-ms 5000", "23 at once, held for 5 s"],
      ["client --leave reset", "leave with a RST instead of a FIN"],
      ["client --protocol json", "every feature of server --protocol json"],
      ["client interactive", "type messages to it"],
      ["client performance --rate 1000", "how long 1,000 requests per second take"],
    ],
    run: async (values, io, given) => {
      const mode = modeOf(values, given);
      refuseFlags(FOREIGN[mode], values, mode === "visit" ? "--protocol echo" : mode);
      // A single connection is what every program makes; only crowds need permission.
      const isAlone =
        mode === "interactive" || (mode === "visit" && (values.connections ?? 1) === 1);
      const target = await resolveTarget(values.host, {
        allowRemote: values["allow-remote"] || isAlone,
        isInSandbox: isInSandbox(),
        isLoopback,
      });
      if (mode === "visit") return visitServer(values, target, io);
      return JSON_MODES[mode](serverOf(values, target), values, io, target);
    },
  }),
);

function modeOf({ protocol }: Given, [word, another]: readonly string[]): Mode {
  const modes = MODES.filter((mode) => mode !== "visit");
  const mode = modes.find((name) => name === word);
  if (another !== undefined || (word !== undefined && mode === undefined))
    throw new UsageError(
      `expected at most one of ${modes.join(", ")}, got ${JSON.stringify(another ?? word)}; see --help`,
    );
  return mode ?? (protocol === "json" ? "demo" : "visit");
}

async function visitServer(values: Given, target: Target, io: Io): Promise<number> {
  const [{ visitAll }, { visitsReport }] = await Promise.all([
    import("../lib/protocol/visits.ts"),
    import("../lib/report/visits-report.ts"),
  ]);
  const { port = DEFAULT_PORTS.echo, connections = 1 } = values;
  if (!values.json)
    io.err(
      `client: ${connections} to ${endpointText({ ...target, port })}, then ${values.leave}. Ctrl-C to stop.`,
    );
  const summary = await visitAll(
    connections,
    {
      host: target.address,
      port,
      message: Buffer.from(values.message),
      messages: values.messages,
      holdMs: values["hold-ms"],
      leave: values.leave,
      timeoutMs: values["timeout-ms"],
      signal: io.signal,
    },
    target.isRemote ? REMOTE_RATE_PER_SECOND : 0,
  );
  io.out(values.json ? JSON.stringify({ version: 1, ...summary }) : visitsReport(summary));
  return summary.left === summary.connections ? 0 : 1;
}

function serverOf(values: Given, { address }: Target): Server {
  const { host } = values;
  const [tlsCa, tlsCert, tlsKey] = [values["tls-ca"], values["tls-cert"], values["tls-key"]];
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError("--tls-cert and --tls-key need each other");
  return {
    host: address,
    port: values.port ?? DEFAULT_PORTS.json,
    tls: values.tls || tlsCa !== undefined || tlsCert !== undefined,
    tlsCa,
    tlsCert,
    tlsKey,
    ...(host === address ? {} : { tlsName: host }),
    authToken: process.env["AUTH_TOKEN"],
    authTokenFile: values["auth-token-file"],
    compression: values.compress,
  };
}

async function talk(server: Server, values: Given, io: Io): Promise<number> {
  const [{ connectedClient, connectOptions }, { chat }, report, { theme }] = await Promise.all([
    import("../lib/programs/json-client.ts"),
    import("../lib/programs/interactive.ts"),
    import("../lib/report/chat-report.ts"),
    import("../lib/report/lab-report.ts"),
  ]);
  const client = await connectedClient(connectOptions(server));
  const paint = theme(io.color.out);
  if (!values.json)
    io.err(report.chatOpening(endpointText({ address: server.host, port: server.port })));
  const isTerminal = process.stdin.isTTY && io.isScreen.out;
  const { failed } = await chat({
    client,
    input: process.stdin,
    output: process.stdout,
    isTerminal,
    prompt: "> ",
    print: (event) => io.out(values.json ? report.chatJson(event) : report.chatText(event, paint)),
    signal: io.signal,
  });
  // Whoever has stopped it does not want to wait for what is still under way.
  if (!io.signal.aborted) await client.close();
  // Whoever types has seen each error; a script has only the code.
  return failed === 0 || isTerminal ? 0 : 1;
}

async function showAll(server: Server, values: Given, io: Io): Promise<number> {
  const [{ demo }, { demoStep }, { theme }] = await Promise.all([
    import("../lib/programs/demo.ts"),
    import("../lib/report/demo-report.ts"),
    import("../lib/report/lab-report.ts"),
  ]);
  const paint = theme(io.color.out);
  let isFine = true;
  for await (const step of demo(server, io.signal)) {
    isFine &&= step.held;
    io.out(values.json ? JSON.stringify({ version: 1, ...step }) : demoStep(step, paint));
  }
  return isFine ? 0 : 1;
}

async function measure(server: Server, values: Given, io: Io, target: Target): Promise<number> {
  const [{ connectOptions, told }, { measurePerformance }, report] = await Promise.all([
    import("../lib/programs/json-client.ts"),
    import("../lib/programs/performance.ts"),
    import("../lib/report/performance-report.ts"),
  ]);
  const connect = connectOptions(server);
  const load = {
    connections: values.connections ?? 50,
    inFlight: values["in-flight"],
    contentBytes: values.bytes,
    durationMs: values["duration-ms"],
    warmupMs: values["warmup-ms"],
    ratePerSecond: values.rate,
    openPerSecond: target.isRemote ? REMOTE_RATE_PER_SECOND : Infinity,
  };
  if (!values.json)
    io.err(
      report.performanceOpening(endpointText({ address: server.host, port: server.port }), load),
    );
  const isWatched = io.isScreen.err && !values.json;
  try {
    const result = await measurePerformance({
      ...load,
      connect,
      signal: io.signal,
      onProgress: (now) => isWatched && io.live(report.progressBar(now)),
    });
    io.out(
      values.json ? JSON.stringify({ version: 1, ...result }) : report.performanceReport(result),
    );
    const troubles = result.wrong + Object.keys({ ...result.failed, ...result.lost }).length;
    return troubles === 0 ? 0 : 1;
  } catch (error) {
    if (!io.signal.aborted) throw told(error as Error, connect);
    io.err("client: stopped before anything was measured");
    return 1;
  }
}
