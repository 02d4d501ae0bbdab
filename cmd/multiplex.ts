#!/usr/bin/env node
/**
 * multiplex: hundreds to a hundred thousand connections at once, all exchanging messages, on one thread as long as limits allow.
 *
 * WATCH   threads: the same number with one connection and with ten thousand
 * CAVEAT  memory per connection is what the process grew by: garbage not yet collected is in it
 * SEE     docs/labs/multiplex.md
 */
import { flag, integer, milliseconds, optional, toggle, words } from "../lib/cli/flags.ts";
import { command, main, UsageError } from "../lib/cli/main.ts";
import { REMOTE_RATE_PER_SECOND, resolveTarget } from "../lib/cli/target.ts";
import { isLoopback } from "../lib/kernel/ports.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import { MAX_PROCESSES, sharesOf } from "../lib/programs/shares.ts";
import { endpointText } from "../lib/sockets/endpoint.ts";

const flags = {
  connections: flag(integer(1, 1_000_000), 500, {
    about: "Connections at the same time",
    metavar: "N",
    env: "CONNECTIONS",
    alias: "c",
  }),
  messages: flag(integer(1), 10, { about: "Messages on each, one after the other", metavar: "N" }),
  "message-bytes": flag(integer(1, 1_048_576), 64, {
    about: "Size of a message",
    metavar: "BYTES",
  }),
  processes: optional(integer(1, MAX_PROCESSES), {
    about: "Share them among N processes, each with a server of its own",
    metavar: "N",
    defaultText: "as few as descriptors and ports allow",
  }),
  turns: toggle({ about: "The same work one connection after the other, to compare" }),
  opening: flag(integer(1, 10_000), 128, {
    about: "Handshakes under way at the same time, in each process",
    metavar: "N",
  }),
  "timeout-ms": flag(milliseconds(1), 10_000, {
    about: "Give up when no connection has heard anything for so long",
    metavar: "MS",
  }),
  host: flag(words, "127.0.0.1", { about: "Server to use", metavar: "HOST", env: "HOST" }),
  port: optional(integer(1, 65_535), {
    about: "Its port; without one a server of its own is started",
    metavar: "N",
    env: "PORT",
    alias: "p",
  }),
  "allow-remote": toggle({
    about: "Allow a server that is not on this machine",
    env: "ALLOW_REMOTE",
  }),
  json: toggle({ about: "Print the result as JSON" }),
};

await main(
  command({
    name: "multiplex",
    summary: "many connections at once, all exchanging messages, on few threads",
    flags,
    examples: [
      ["multiplex", "500 connections to a server of its own"],
      ["multiplex --connections 10000", "ten thousand, on one thread"],
      ["multiplex --connections 100000", "a hundred thousand, in several processes"],
      ["multiplex --turns", "the same messages, one connection at a time"],
    ],
    run: async (values, io) => {
      const { host, port, connections, processes, turns } = values;
      if (processes !== undefined) refuseProcesses(turns, port);
      const rules = { allowRemote: values["allow-remote"], isInSandbox: isInSandbox(), isLoopback };
      const { address, isRemote } = await resolveTarget(host, rules);
      if (port === undefined && !isLoopback(address))
        throw new UsageError(
          `--host ${host} needs --port: a server of its own can only be on this machine's loopback`,
        );
      // A server of somebody else's is one process, and so are then we.
      const shares = turns
        ? [connections]
        : sharesOf(connections, port === undefined ? processes : 1);
      const [{ multiplex }, { multiplexOpening, multiplexReport }] = await Promise.all([
        import("../lib/programs/multiplex.ts"),
        import("../lib/report/multiplex-report.ts"),
      ]);
      const where = port === undefined ? address : endpointText({ address, port });
      if (!values.json) io.err(multiplexOpening(connections, where, shares.length));
      const result = await multiplex({
        host: address,
        port,
        shares,
        messages: values.messages,
        messageBytes: values["message-bytes"],
        opening: values.opening,
        openPerSecond: isRemote ? REMOTE_RATE_PER_SECOND : undefined,
        timeoutMs: values["timeout-ms"],
        how: turns ? "in-turns" : "at-once",
        signal: io.signal,
      });
      io.out(values.json ? JSON.stringify({ version: 1, ...result }) : multiplexReport(result));
      return result.exchanged.answered === values.connections * values.messages ? 0 : 1;
    },
  }),
);

/** A flag that would have no effect is a mistake of its user's. */
function refuseProcesses(turns: boolean, port: number | undefined): void {
  if (!turns && port === undefined) return;
  const other = turns ? "--turns" : "--port, or PORT in the environment";
  throw new UsageError(`--processes has no meaning with ${other}: that is one process; see --help`);
}
