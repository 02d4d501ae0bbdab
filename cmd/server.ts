#!/usr/bin/env node
/**
 * server: an echo server that can misbehave on request, and knows when it is in trouble.
 *
 * WATCH   make watch, or ss -tan 'sport = :8080', in another terminal
 * CAVEAT  Node raises its soft descriptor limit to the hard one: lower the hard one (ulimit -n 128) to see EMFILE
 * SEE     docs/map.md
 */
import type { AddressInfo } from "node:net";
import { choice, flag, integer, toggle, words } from "../lib/cli/flags.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import type { Io } from "../lib/cli/io.ts";
import { openProcessWatch, type ProcessWatch } from "../lib/kernel/watch.ts";
import { BEHAVIOURS, createEchoServer, type EchoServer } from "../lib/protocol/echo-server.ts";
import {
  exhaustionReport,
  shedCount,
  statusLine,
  type ServerStatus,
} from "../lib/report/server-report.ts";
import { listenerView } from "../lib/sockets/listener.ts";
import { parseProcNet } from "../lib/sockets/index.ts";

const behaviours = Object.keys(BEHAVIOURS) as (keyof typeof BEHAVIOURS)[];

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
      const watch = openProcessWatch();
      const echo = createEchoServer({
        behaviour: values.leak ? "leak" : values.behave,
        idleTimeoutMs: values["idle-timeout-ms"],
        blockAfter: values["block-after"],
        blockMs: values["block-ms"],
      });
      const address = await listen(echo, values.host, values.port, values.backlog);
      if (values.json) io.out(JSON.stringify({ event: "listening", pid: process.pid, ...address }));
      io.err(
        `server: listening on ${address.address}:${address.port}, ${values.leak ? "leak" : values.behave}. Ctrl-C to stop.`,
      );
      const last = await report(values["status-interval-ms"], io, observer(watch, echo, address));
      echo.stop();
      if (values.json)
        io.out(JSON.stringify({ event: "summary", version: 1, ...last, shed: shedCount(last) }));
      return 0;
    },
  }),
);

function listen(
  echo: EchoServer,
  host: string,
  port: number,
  backlog: number,
): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    echo.server.once("error", reject);
    echo.server.listen({ host, port, backlog }, () =>
      resolve(echo.server.address() as AddressInfo),
    );
  });
}

/** What the program and the kernel say at this instant. */
function observer(watch: ProcessWatch, echo: EchoServer, address: AddressInfo): () => ServerStatus {
  let wasExhausted = false;
  let peakDescriptors = 0;
  return () => {
    const view = listenerView(
      watch.socketTables().flatMap((text) => parseProcNet(text).records),
      address.port,
    );
    const { open, limit, isExhausted } = watch.descriptors();
    wasExhausted ||= isExhausted;
    peakDescriptors = Math.max(peakDescriptors, open);
    return {
      address: `${address.address}:${address.port}`,
      accepted: echo.counts.accepted,
      open: echo.counts.open,
      descriptors: { open, limit: limit.soft, isExhausted },
      closeWait: view.server.CLOSE_WAIT,
      queued: view.queued,
      passiveOpens: watch.passiveOpens(),
      otherListeners: view.otherListeners,
      wasExhausted,
    };
  };
}

/** Shows the status until the user has had enough, and at least every interval; returns the last one. */
function report(intervalMs: number, io: Io, observe: () => ServerStatus): Promise<ServerStatus> {
  return new Promise((resolve) => {
    let told = -1;
    let timer: NodeJS.Timeout;
    const look = (): ServerStatus => {
      const startMs = performance.now();
      const status = observe();
      if (status.wasExhausted && shedCount(status) > told) {
        if (told === -1) io.err(exhaustionReport(status));
        told = shedCount(status);
      }
      io.live(statusLine(status));
      // A long socket table takes long to read: never spend more than 2 % of the time on watching.
      timer = setTimeout(look, Math.max(intervalMs, 50 * (performance.now() - startMs)));
      return status;
    };
    look();
    io.signal.addEventListener("abort", () => {
      clearTimeout(timer);
      const last = observe();
      if (last.wasExhausted) io.err(exhaustionReport(last));
      else io.err(statusLine(last));
      resolve(last);
    });
  });
}
