#!/usr/bin/env node
/**
 * server: an echo server that can misbehave on request and knows when it is in trouble, or one of length-prefixed JSON.
 *
 * WATCH   make watch, or ss -tan 'sport = :8080', in another terminal
 * CAVEAT  Node raises its soft descriptor limit to the hard one: lower the hard one (ulimit -n 128) to see EMFILE
 * SEE     docs/map.md, docs/reference/protocol.md
 */
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { DEFAULT_PORTS, DEFAULT_PORTS_TEXT } from "../lib/cli/default-ports.ts";
import {
  choice,
  flag,
  flagOrVariable,
  integer,
  milliseconds,
  optional,
  toggle,
  words,
  type Values,
} from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { addressOf } from "../lib/cli/target.ts";
import { command, main, refuseFlags, UsageError } from "../lib/cli/main.ts";
import type { ServeJsonOptions } from "../lib/programs/json-server.ts";
import type { ServerStatus, Serving } from "../lib/programs/server.ts";
import { BEHAVIOURS, type Behaviour } from "../lib/protocol/echo-server.ts";
import { endpointText } from "../lib/sockets/endpoint.ts";

const behaviours = Object.keys(BEHAVIOURS) as Behaviour[];

const common = {
  protocol: flag(choice("echo", "json"), "echo", {
    about: "What to speak: echo, or json, each message with its length before it",
    metavar: "NAME",
  }),
  host: flag(words, "127.0.0.1", { about: "Address to listen on", metavar: "HOST", env: "HOST" }),
  port: optional(integer(0, 65_535), {
    about: "Port; 0 for any free one",
    metavar: "N",
    env: "PORT",
    alias: "p",
    defaultText: DEFAULT_PORTS_TEXT,
  }),
  backlog: flag(integer(1, 65_535), 511, {
    about: "Length of the accept queue, less one",
    metavar: "N",
  }),
  "idle-timeout-ms": flag(milliseconds(0), 0, {
    about: "Close connections without traffic (json: without requests) for this long; 0 never",
    metavar: "MS",
  }),
  "status-interval-ms": flag(milliseconds(10), 1_000, {
    about: "Time between two status lines",
    metavar: "MS",
  }),
  json: toggle({ about: "Print JSON lines: one when listening, a summary at the end" }),
};

const echo = {
  leak: toggle({ about: "Never close a connection; short for --behave leak", env: "LEAK" }),
  behave: flag(choice(...behaviours), "echo", {
    about: "What to do with a connection: see below",
    metavar: "HOW",
    meanings: BEHAVIOURS,
  }),
  "block-after": flag(integer(0), 0, {
    about: "Stop accepting after N connections: block the event loop",
    metavar: "N",
  }),
  "block-ms": flag(milliseconds(1), 60_000, { about: "For how long", metavar: "MS" }),
};

const group = "With --protocol json";
const json = {
  "max-connections": flag(integer(1), 16_384, {
    about: "Clients at a time; one more is refused, with a reason",
    metavar: "N",
    group,
  }),
  "max-frame-bytes": flag(integer(1_024, 2 ** 28), 2 ** 20, {
    about: "The longest message",
    metavar: "BYTES",
    group,
  }),
  rate: flag(integer(0), 0, {
    about: "Messages per second from one client; 0 is no limit",
    metavar: "N",
    group,
  }),
  "heartbeat-ms": flag(milliseconds(0), 30_000, {
    about: "Ping clients that have been silent for this long; 0 never",
    metavar: "MS",
    group,
  }),
  "drain-ms": flag(milliseconds(0), 5_000, {
    about: "At the end: time for clients to take their answers",
    metavar: "MS",
    group,
  }),
  "auth-token-file": optional(words, {
    about: "Nothing but auth with the token in this file, or in AUTH_TOKEN, before anything else",
    metavar: "FILE",
    group,
  }),
  "tls-key": optional(words, { about: "TLS with this key", metavar: "FILE", group }),
  "tls-cert": optional(words, { about: "and this certificate", metavar: "FILE", group }),
  "tls-ca": optional(words, {
    about: "and only for clients with a certificate signed by these",
    metavar: "FILE",
    group,
  }),
  log: flag(choice("none", "text", "json"), "none", {
    about: "Tell every event: text to stderr, or json to stdout",
    metavar: "HOW",
    group,
  }),
  "metrics-port": optional(integer(0, 65_535), {
    about: "Prometheus metrics on http://127.0.0.1:N/metrics",
    metavar: "N",
    group,
  }),
};

const flags = { ...common, ...echo, ...json };
type Given = Values<typeof flags>;

await main(
  command({
    name: "server",
    summary: "an echo server that can misbehave on request, or one of length-prefixed JSON",
    flags,
    examples: [
      ["server", "echo on 127.0.0.1:8080"],
      ["LEAK=true server", "never close: CLOSE_WAIT until EMFILE"],
      ["server --behave close-first", "TIME_WAIT on the server's side"],
      ["server --protocol json", "messages on 127.0.0.1:9999"],
    ],
    run: (values, io) => {
      const isJson = values.protocol === "json";
      refuseFlags(isJson ? echo : json, values, `--protocol ${values.protocol}`);
      if (values["block-after"] === 0)
        refuseFlags({ "block-ms": echo["block-ms"] }, values, "--block-after 0");
      return isJson ? serveMessages(values, io) : serveEcho(values, io);
    },
  }),
);

async function serveEcho(values: Given, io: Io): Promise<number> {
  if (values.leak && values.behave !== "echo" && values.behave !== "leak")
    throw new UsageError(
      `${flagOrVariable("leak", flags.leak)} and --behave ${values.behave} exclude each other`,
    );
  // The words for the report, too, before it listens: whoever counts our descriptors then finds no file of a module among them.
  const [{ serve }, words] = await Promise.all([
    import("../lib/programs/server.ts"),
    import("../lib/report/server-report.ts"),
  ]);
  const behaviour = values.leak ? "leak" : values.behave;
  const serving = await serve({
    host: await addressOf(values.host),
    port: values.port ?? DEFAULT_PORTS.echo,
    backlog: values.backlog,
    behaviour,
    idleTimeoutMs: values["idle-timeout-ms"],
    blockAfter: values["block-after"],
    blockMs: values["block-ms"],
  });
  tellAddress(serving.address, behaviour, values.json, io);
  const last = await report(serving, words, values["status-interval-ms"], io);
  serving.stop();
  if (values.json) io.out(JSON.stringify({ event: "summary", version: 1, ...last }));
  return 0;
}

async function serveMessages(values: Given, io: Io): Promise<number> {
  checkTls(values);
  const [{ serveJson }, { jsonStatusLine, jsonSummary, logLine, shortageLine }] = await Promise.all(
    [import("../lib/programs/json-server.ts"), import("../lib/report/json-server-report.ts")],
  );
  const { log } = values;
  const serving = await serveJson({
    ...jsonOptions(values),
    host: await addressOf(values.host),
    ...(log === "none"
      ? {}
      : { onEvent: (event) => (log === "json" ? io.out : io.err)(logLine(event, log)) }),
  });
  const { address, server, metricsPort, room } = serving;
  const what = values["tls-key"] === undefined ? "json" : "json over TLS";
  tellAddress({ ...address, metricsPort }, what, values.json, io);
  if (room < values["max-connections"]) io.err(shortageLine(room, values["max-connections"]));
  while (!io.signal.aborted) {
    if (log === "none") io.live(jsonStatusLine(endpointText(address), server));
    await pause(values["status-interval-ms"], undefined, { signal: io.signal }).catch(
      () => undefined,
    );
  }
  const closing = await serving.stop(values["drain-ms"]);
  const { clients, cutOff } = closing;
  io.err(
    `server: ended with ${clients} client(s), ${cutOff} cut off after --drain-ms ${values["drain-ms"]}`,
  );
  if (values.json) io.out(jsonSummary(server, closing));
  return 0;
}

function checkTls(values: Given): void {
  if ((values["tls-key"] === undefined) !== (values["tls-cert"] === undefined))
    throw new UsageError("--tls-key and --tls-cert need each other");
  if (values["tls-ca"] !== undefined && values["tls-key"] === undefined)
    throw new UsageError("--tls-ca needs --tls-key and --tls-cert");
}

function jsonOptions(values: Given): Omit<ServeJsonOptions, "host"> {
  return {
    port: values.port ?? DEFAULT_PORTS.json,
    backlog: values.backlog,
    maxConnections: values["max-connections"],
    maxFrameBytes: values["max-frame-bytes"],
    ratePerSecond: values.rate,
    idleTimeoutMs: values["idle-timeout-ms"],
    heartbeatMs: values["heartbeat-ms"],
    authToken: process.env["AUTH_TOKEN"],
    authTokenFile: values["auth-token-file"],
    tlsKey: values["tls-key"],
    tlsCert: values["tls-cert"],
    tlsCa: values["tls-ca"],
    metricsPort: values["metrics-port"],
  };
}

function tellAddress(
  where: AddressInfo & { readonly metricsPort?: number | undefined },
  what: string,
  isJson: boolean,
  io: Io,
): void {
  const { address, port, metricsPort } = where;
  const told = { version: 1, pid: process.pid, address, port, metricsPort };
  if (isJson) io.out(JSON.stringify({ event: "listening", ...told }));
  io.err(`server: listening on ${endpointText({ address, port })}, ${what}. Ctrl-C to stop.`);
  if (metricsPort !== undefined)
    io.err(`server: metrics on http://127.0.0.1:${metricsPort}/metrics`);
}

/** Shows the status every interval until the user has had enough; returns the last one. */
async function report(
  { observe }: Serving,
  { exhaustionReport, statusLine }: typeof import("../lib/report/server-report.ts"),
  intervalMs: number,
  io: Io,
): Promise<ServerStatus> {
  let wasTold = false;
  const { restAfterLookMs } = await import("../lib/programs/server.ts");
  while (!io.signal.aborted) {
    const startMs = performance.now();
    const status = await observe();
    if (status.shed > 0 && !wasTold) {
      wasTold = true;
      io.err(exhaustionReport(status));
    }
    io.live(statusLine(status));
    const restMs = restAfterLookMs(performance.now() - startMs, intervalMs);
    await pause(restMs, undefined, { signal: io.signal }).catch(() => undefined);
  }
  const last = await observe();
  io.err(last.shed > 0 && !wasTold ? exhaustionReport(last) : statusLine(last));
  return last;
}
