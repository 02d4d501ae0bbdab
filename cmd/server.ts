#!/usr/bin/env node
/**
 * server: an echo server that can misbehave on request, and knows when it is in trouble.
 *
 * WATCH   make watch, or ss -tan 'sport = :8080', in another terminal
 * CAVEAT  Node raises its soft descriptor limit to the hard one: lower the hard one (ulimit -n 128) to see EMFILE
 * SEE     docs/map.md
 */
import { setTimeout as pause } from "node:timers/promises";
import { choice, flag, integer, toggle, words } from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { ServerStatus, Serving } from "../lib/programs/server.ts";
import { BEHAVIOURS, type Behaviour } from "../lib/protocol/echo-server.ts";
import { exhaustionReport, statusLine } from "../lib/report/server-report.ts";

const behaviours = Object.keys(BEHAVIOURS) as Behaviour[];

const flags = {
  host: flag(words, "127.0.0.1", { about: "Address to listen on", metavar: "HOST", env: "HOST" }),
  port: flag(integer(0, 65_535), 8080, {
    about: "Port; 0 for any free one",
    metavar: "N",
    env: "PORT",
    alias: "p",
  }),
  leak: toggle({ about: "Never close a connection; short for --behave leak", env: "LEAK" }),
  behave: flag(choice(...behaviours), "echo", {
    about: `What to do with a connection: ${behaviours.join(", ")}`,
    metavar: "HOW",
  }),
  backlog: flag(integer(1, 65_535), 511, {
    about: "Length of the accept queue, less one",
    metavar: "N",
  }),
  "idle-timeout-ms": flag(integer(0), 0, {
    about: "Close connections without traffic for this long; 0 never",
    metavar: "MS",
  }),
  "block-after": flag(integer(0), 0, {
    about: "Stop accepting after N connections: block the event loop",
    metavar: "N",
  }),
  "block-ms": flag(integer(1), 60_000, { about: "For how long", metavar: "MS" }),
  "status-interval-ms": flag(integer(10), 1_000, {
    about: "Time between two status lines",
    metavar: "MS",
  }),
  json: toggle({ about: "Print JSON lines: one when listening, a summary at the end" }),
};

await main(
  command({
    name: "server",
    summary: "an echo server that can misbehave on request",
    flags,
    examples: [
      ["server", "echo on 127.0.0.1:8080"],
      ["LEAK=true server", "never close: CLOSE_WAIT until EMFILE"],
      ["server --behave close-first", "TIME_WAIT on the server's side"],
    ],
    run: async (values, io) => {
      if (values.leak && values.behave !== "echo" && values.behave !== "leak")
        throw new UsageError(`--leak and --behave ${values.behave} exclude each other`);
      const { serve } = await import("../lib/programs/server.ts");
      const behaviour = values.leak ? "leak" : values.behave;
      const serving = await serve({
        host: values.host,
        port: values.port,
        backlog: values.backlog,
        behaviour,
        idleTimeoutMs: values["idle-timeout-ms"],
        blockAfter: values["block-after"],
        blockMs: values["block-ms"],
      });
      const { address, port } = serving.address;
      if (values.json)
        io.out(JSON.stringify({ event: "listening", pid: process.pid, address, port }));
      io.err(`server: listening on ${address}:${port}, ${behaviour}. Ctrl-C to stop.`);
      const last = await report(serving, values["status-interval-ms"], io);
      serving.stop();
      if (values.json) io.out(JSON.stringify({ event: "summary", version: 1, ...last }));
      return 0;
    },
  }),
);

/** Shows the status every interval until the user has had enough; returns the last one. */
async function report({ observe }: Serving, intervalMs: number, io: Io): Promise<ServerStatus> {
  let wasTold = false;
  while (!io.signal.aborted) {
    const startMs = performance.now();
    const status = await observe();
    if (status.shed > 0 && !wasTold) {
      wasTold = true;
      io.err(exhaustionReport(status));
    }
    io.live(statusLine(status));
    // A long socket table takes long to read: never spend more than 2 % of the time on watching.
    const pauseMs = Math.max(intervalMs, 50 * (performance.now() - startMs));
    await pause(pauseMs, undefined, { signal: io.signal }).catch(() => undefined);
  }
  const last = await observe();
  io.err(last.shed > 0 && !wasTold ? exhaustionReport(last) : statusLine(last));
  return last;
}
