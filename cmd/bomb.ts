#!/usr/bin/env node
/**
 * bomb: open and close connections as fast as possible until something gives, and say what gave.
 *
 * WATCH   make watch in another terminal: TIME_WAIT climbs
 * CAVEAT  with tcp_tw_reuse=2, the default, loopback never runs out: ports come back after a second
 * NEEDS   a server: make server
 * SEE     docs/labs/time-wait-exhaustion.md
 */
import { choice, flag, integer, toggle, words } from "../lib/cli/flags.ts";
import type { Io } from "../lib/cli/io.ts";
import { command, main } from "../lib/cli/main.ts";
import { REMOTE_RATE_PER_SECOND, resolveTarget } from "../lib/cli/target.ts";
import { counterDelta, readCounters, readSockstat } from "../lib/kernel/counters.ts";
import { predictExhaustion, type Exhaustion } from "../lib/kernel/exhaustion.ts";
import { ephemeralPorts, isLoopback } from "../lib/kernel/ports.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import { Churn, type ChurnOptions } from "../lib/protocol/churn.ts";
import {
  bombLine,
  bombReport,
  cannotExhaustText,
  predictionText,
  type BombResult,
} from "../lib/report/bomb-report.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import { listenerView } from "../lib/sockets/listener.ts";
import { takenPorts } from "../lib/sockets/taken-ports.ts";

const FOR_EVER_MS = 2 ** 31 - 1;

const flags = {
  host: flag(words, "127.0.0.1", { about: "Server to bomb", metavar: "HOST", env: "HOST" }),
  port: flag(integer(1, 65_535), 8080, {
    about: "Its port",
    metavar: "N",
    env: "PORT",
    alias: "p",
  }),
  destinations: flag(integer(1, 100), 1, {
    about: "Use N ports of the server in turn, from --port on",
    metavar: "N",
  }),
  count: flag(integer(1), Infinity, {
    about: "Stop after N attempts",
    metavar: "N",
    alias: "n",
    defaultText: "no limit",
  }),
  "duration-ms": flag(integer(1, FOR_EVER_MS), 15_000, {
    about: "Stop after this time",
    metavar: "MS",
  }),
  "keep-going": toggle({ about: "Do not stop at the first error" }),
  rate: flag(integer(0, 1_000_000), 0, {
    about: "At most N attempts per second; 0 is no limit",
    metavar: "N",
  }),
  concurrency: flag(integer(1, 10_000), 1, { about: "Attempts at the same time", metavar: "N" }),
  leave: flag(choice("end", "reset", "wait"), "end", {
    about: "Close with FIN (end), with RST (reset), or let the server close first (wait)",
    metavar: "HOW",
  }),
  "walk-ports": toggle({
    about: "Bind each port of the range in turn: spares the kernel its search",
  }),
  "allow-remote": toggle({
    about: "Allow a server that is not on this machine",
    env: "ALLOW_REMOTE",
  }),
  json: toggle({ about: "Print the result as JSON" }),
};

await main(
  command({
    name: "bomb",
    summary: "open and close connections until something gives; say what gave",
    flags,
    examples: [
      ["bomb", "as fast as it goes, 15 s or until the first error"],
      ["bomb --walk-ports", "fill the whole port range in seconds"],
      ["bomb --rate 400 --duration-ms 60000", "what 28,232 ports can sustain"],
    ],
    run: async (values, io) => {
      const rules = { allowRemote: values["allow-remote"], isInSandbox: isInSandbox(), isLoopback };
      const { address, isRemote } = await resolveTarget(values.host, rules);
      const ratePerSecond = isRemote
        ? Math.min(values.rate || Infinity, REMOTE_RATE_PER_SECOND)
        : values.rate;
      const destinations = Array.from(
        { length: values.destinations },
        (_, index) => values.port + index,
      );
      const { ports } = ephemeralPorts();
      const table = readProcNet();
      const predicted = predictExhaustion({
        ports,
        taken: destinations.map((port) => takenPorts(table, address, port)),
        closer: { end: "client", reset: "reset", wait: "server" }[values.leave] as
          "client" | "server" | "reset",
        address,
      });
      if (!values.json) announce(io, `${address}:${values.port}`, predicted, isRemote);
      const result = await explode(io, predicted, {
        host: address,
        ports: destinations,
        count: values.count,
        durationMs: values["duration-ms"],
        untilError: !values["keep-going"],
        concurrency: values.concurrency,
        ratePerSecond,
        leave: values.leave,
        localPorts: values["walk-ports"] ? ports : [],
        signal: io.signal,
      });
      io.out(values.json ? JSON.stringify({ version: 1, ...result }) : bombReport(result));
      return result.successes > 0 ? 0 : 1;
    },
  }),
);

function announce(io: Io, destination: string, predicted: Exhaustion, isRemote: boolean): void {
  io.err(`bomb: opening and closing connections to ${destination}. Ctrl-C to stop.`);
  if (isRemote)
    io.err(`A remote server: at most ${REMOTE_RATE_PER_SECOND} connections per second.`);
  io.err(`Prediction: ${predictionText(predicted)}`);
  const hint = cannotExhaustText(predicted);
  if (hint !== undefined) io.err(hint);
}

/** Runs the churn between two looks at the kernel. */
async function explode(
  io: Io,
  predicted: Exhaustion,
  options: Omit<ChurnOptions, "fillLevel">,
): Promise<BombResult> {
  const port = options.ports[0] ?? 0;
  const before = listenerView(readProcNet(), port);
  const counters = readCounters();
  const timeWaitBefore = readSockstat().timeWait;
  const fillLevel = (): number =>
    Math.min(1, (readSockstat().timeWait - timeWaitBefore) / Math.max(1, predicted.capacity));
  const churn = new Churn({ ...options, fillLevel });
  const stopLine = showLine(io, churn, fillLevel);
  const result = await churn.run();
  stopLine();
  return {
    ...result,
    destination: `${options.host}:${port}`,
    ratePerSecond: (result.successes * 1_000) / result.durationMs,
    predicted,
    before,
    after: listenerView(readProcNet(), port),
    counters: counterDelta(counters, readCounters()),
  };
}

function showLine(io: Io, churn: Churn, fillLevel: () => number): () => void {
  const startMs = performance.now();
  const timer = setInterval(() => {
    const { successes } = churn.progress;
    const perSecond = (successes * 1_000) / (performance.now() - startMs);
    io.live(
      bombLine({ successes, perSecond, timeWait: readSockstat().timeWait, fill: fillLevel() }),
    );
  }, 100);
  return () => clearInterval(timer);
}
