#!/usr/bin/env node
/**
 * bomb: open and close connections as fast as possible until something gives, and say what gave.
 *
 * WATCH   make watch in another terminal: TIME_WAIT climbs
 * CAVEAT  with tcp_tw_reuse=2, the default, loopback never runs out: ports come back after a second
 * NEEDS   a server: make server
 * SEE     docs/labs/time-wait-exhaustion.md
 */
import { DEFAULT_PORTS } from "../lib/cli/default-ports.ts";
import { choice, flag, integer, milliseconds, toggle, words } from "../lib/cli/flags.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import { REMOTE_RATE_PER_SECOND, resolveTarget } from "../lib/cli/target.ts";
import { isLoopback } from "../lib/kernel/ports.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import { endpointText } from "../lib/sockets/endpoint.ts";

const LINE_EVERY_MS = 100;

const flags = {
  host: flag(words, "127.0.0.1", { about: "Server to bomb", metavar: "HOST", env: "HOST" }),
  port: flag(integer(1, 65_535), DEFAULT_PORTS.echo, {
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
  "duration-ms": flag(milliseconds(1), 15_000, {
    about: "Stop after this time",
    metavar: "MS",
  }),
  "keep-going": toggle({ about: "Do not stop at the first error" }),
  rate: flag(integer(0, 1_000_000), 0, {
    about: "N attempts per second, those held up made up for; 0 is no limit",
    metavar: "N",
  }),
  concurrency: flag(integer(1, 10_000), 1, { about: "Attempts at the same time", metavar: "N" }),
  leave: flag(choice("end", "reset", "wait"), "end", {
    about: "Close with FIN (end), with RST (reset), or let the server close first (wait)",
    metavar: "HOW",
  }),
  "walk-ports": toggle({
    about:
      "Bind each port of the range in turn, those of others left out: spares the kernel its search",
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
      const [{ prepareBomb }, { bombLine, bombOpening, bombReport }] = await Promise.all([
        import("../lib/programs/bomb.ts"),
        import("../lib/report/bomb-report.ts"),
      ]);
      const { port, destinations } = values;
      if (port + destinations > 65_536)
        throw new UsageError(
          `--destinations ${destinations} from --port ${port} on would go beyond port 65535; see --help`,
        );
      const rules = { allowRemote: values["allow-remote"], isInSandbox: isInSandbox(), isLoopback };
      const { address, isRemote } = await resolveTarget(values.host, rules);
      const rate = isRemote
        ? Math.min(values.rate || Infinity, REMOTE_RATE_PER_SECOND)
        : values.rate;
      const bomb = prepareBomb({
        host: address,
        ports: Array.from({ length: destinations }, (_, index) => port + index),
        count: values.count,
        durationMs: values["duration-ms"],
        untilError: !values["keep-going"],
        concurrency: values.concurrency,
        ratePerSecond: rate,
        leave: values.leave,
        walkPorts: values["walk-ports"],
        signal: io.signal,
      });
      if (!values.json) io.err(bombOpening(endpointText({ address, port }), bomb.predicted, rate));
      const result = await bomb.explode((now) => {
        if (!values.json) io.live(bombLine(now));
      }, LINE_EVERY_MS);
      io.out(values.json ? JSON.stringify({ version: 1, ...result }) : bombReport(result));
      return result.successes > 0 ? 0 : 1;
    },
  }),
);
