#!/usr/bin/env node
/**
 * multiplex: hundreds to tens of thousands of connections at once, all exchanging messages, on one thread.
 *
 * WATCH   threads: the same number with one connection and with ten thousand
 * CAVEAT  memory per connection is what the process grew by: garbage not yet collected is in it
 * SEE     docs/labs/multiplex.md
 */
import { flag, integer, optional, toggle, words } from "../lib/cli/flags.ts";
import { command, main } from "../lib/cli/main.ts";
import { resolveTarget } from "../lib/cli/target.ts";
import { NeedsError } from "../lib/kernel/errors.ts";
import { ephemeralPorts, isLoopback } from "../lib/kernel/ports.ts";
import {
  descriptorLimit,
  openDescriptors,
  ownerOfSocket,
  processStatus,
  type Pid,
} from "../lib/kernel/process.ts";
import { isInSandbox } from "../lib/kernel/sandbox.ts";
import { Crowd } from "../lib/protocol/crowd.ts";
import {
  multiplexReport,
  type MultiplexResult,
  type ProcessView,
} from "../lib/report/multiplex-report.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import { takenPorts } from "../lib/sockets/taken-ports.ts";

/** Descriptors that a Node process may need beside its sockets, with room to spare. */
const SPARE_DESCRIPTORS = 64;

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
  turns: toggle({ about: "The same work one connection after the other, to compare" }),
  opening: flag(integer(1, 10_000), 128, {
    about: "Handshakes under way at the same time",
    metavar: "N",
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
    summary: "many connections at once, all exchanging messages, on one thread",
    flags,
    examples: [
      ["multiplex", "500 connections to a server of its own"],
      ["multiplex --connections 10000", "ten thousand"],
      ["multiplex --turns", "the same messages, one connection at a time"],
    ],
    run: async (values, io) => {
      const rules = { allowRemote: values["allow-remote"], isInSandbox: isInSandbox(), isLoopback };
      const { address } = await resolveTarget(values.host, rules);
      if (!values.turns) checkLimits(values.connections);
      const server = await serverOf(values.port);
      if (!values.turns) checkPorts(values.connections, address, server.port);
      if (!values.json)
        io.err(
          `multiplex: ${values.connections} connections to ${address}:${server.port}. Ctrl-C to stop.`,
        );
      const crowd = new Crowd({
        host: address,
        port: server.port,
        connections: values.connections,
        message: Buffer.alloc(values["message-bytes"], "x"),
        opening: values.opening,
        signal: io.signal,
      });
      const result = await meet(crowd, server.pid, values);
      await server.stop();
      io.out(values.json ? JSON.stringify({ version: 1, ...result }) : multiplexReport(result));
      return result.exchanged.answered === values.connections * values.messages ? 0 : 1;
    },
  }),
);

type Server = {
  readonly pid: number | undefined;
  readonly port: number;
  readonly stop: () => Promise<unknown>;
};

async function serverOf(port: number | undefined): Promise<Server> {
  if (port === undefined) {
    const { startServer } = await import("../lib/lab/program.ts");
    return startServer(["--port", "0", "--host", "127.0.0.1", "--backlog", "4096"]);
  }
  const listener = readProcNet().find(
    (record) => record.state === "LISTEN" && record.local.port === port,
  );
  const pid = listener?.inode === undefined ? undefined : ownerOfSocket(listener.inode);
  return { pid, port, stop: () => Promise.resolve() };
}

/** Finds out before the start what would otherwise be EMFILE in the middle, and in silence on the server's side. */
function checkLimits(connections: number): void {
  const { soft } = descriptorLimit();
  const needed = connections + SPARE_DESCRIPTORS;
  if (soft >= needed) return;
  throw new NeedsError(
    `${connections} connections need about ${needed} descriptors in each process; the hard limit here is ${soft}.\n` +
      `  Raise it: ulimit -Hn ${needed} as root, or LimitNOFILE=${needed} (systemd), or --ulimit nofile=${needed} (docker).\n` +
      `  Or take at most ${Math.max(1, soft - SPARE_DESCRIPTORS)}: multiplex --connections ${Math.max(1, soft - SPARE_DESCRIPTORS)}`,
  );
}

function checkPorts(connections: number, address: string, port: number): void {
  const { low, high, ports } = ephemeralPorts();
  const taken = takenPorts(readProcNet(), address, port);
  const free = ports.filter((candidate) => !taken.has(candidate)).length;
  if (free >= connections) return;
  throw new NeedsError(
    `${connections} connections to one address and port need as many local ports; ${free} of ${low} to ${high} are free.\n` +
      `  Widen the range as root: sysctl -w net.ipv4.ip_local_port_range="1024 65535". Or take at most ${free}.`,
  );
}

type Plan = { readonly connections: number; readonly messages: number; readonly turns: boolean };

async function meet(
  crowd: Crowd,
  serverPid: number | undefined,
  plan: Plan,
): Promise<MultiplexResult> {
  const before = { client: look("self"), server: lookIfThere(serverPid) };
  const opened = plan.turns ? { open: 0, durationMs: 0, failures: {} } : await crowd.open();
  const exchanged = plan.turns
    ? await crowd.takeTurns(plan.messages)
    : await crowd.exchange(plan.messages);
  const open = { client: look("self"), server: lookIfThere(serverPid) };
  crowd.close();
  return {
    connections: plan.connections,
    turns: plan.turns,
    opened,
    exchanged,
    client: { before: before.client, open: open.client },
    server: before.server && open.server ? { before: before.server, open: open.server } : undefined,
  };
}

function look(pid: Pid): ProcessView {
  return { ...processStatus(pid), descriptors: openDescriptors(pid) };
}

function lookIfThere(pid: number | undefined): ProcessView | undefined {
  return pid === undefined ? undefined : look(pid);
}
