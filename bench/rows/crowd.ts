/** crowd: thousands of connections at once, opened and answered: 10,000 from one process, 100,000 from several. */
import { runProgram } from "../../lib/lab/program.ts";
import type { MultiplexResult } from "../../lib/programs/multiplex.ts";
import type { Contest, Figures } from "../lib/contest.ts";

async function crowd(connections: number, messages: number): Promise<Figures> {
  const flags = ["--connections", `${connections}`, "--messages", `${messages}`];
  const result = await runProgram<MultiplexResult>("multiplex", flags);
  const { opened, exchanged, client, server, kernel, states } = result;
  if (client === undefined || exchanged.answered < connections * messages)
    throw new Error(`${exchanged.answered} of ${connections * messages} answered`);
  const each = (before: number, open: number): number => (open - before) / connections;
  return {
    seconds: (opened.durationMs + exchanged.durationMs) / 1_000,
    openSeconds: opened.durationMs / 1_000,
    perSecond: (exchanged.answered * 1_000) / exchanged.durationMs,
    clientBytes: each(client.before.rssBytes, client.open.rssBytes),
    serverBytes: server ? each(server.before.rssBytes, server.open.rssBytes) : NaN,
    kernelBytes: each(kernel.before.slabBytes, kernel.open.slabBytes),
    processes: client.processes,
    established: states.clients.ESTABLISHED,
  };
}

export const crowdContest: Contest = {
  name: "crowd",
  load: { full: 10_000, quick: 100 },
  runs: 3,
  contestants: { multiplex: { run: (connections) => crowd(connections, 1) } },
  lines: [
    {
      what: "10,000 connections opened and answering, one process",
      unit: "s",
      better: "less",
      ours: ["multiplex", "seconds"],
      reach: { atMost: 1.5 },
      limit:
        "Two cores: ours and the server's are both busy to the end. Of that time the kernel has 37 %, where these are near: the handshake, and one message each way. The rest is Node, net.Socket above all.",
    },
  ],
  growth: [
    {
      what: "opened and answering, one process",
      of: "connections",
      loads: [100, 1_000, 10_000],
      unit: "s",
      source: ["multiplex", "seconds"],
      kind: "total",
    },
  ],
};

export const c100kContest: Contest = {
  name: "c100k",
  load: { full: 100_000, quick: 1_000 },
  runs: 1,
  contestants: { multiplex: { run: (connections) => crowd(connections, 3) } },
  lines: [
    {
      what: "100,000 connections, several processes: all open after",
      unit: "s",
      better: "less",
      ours: ["multiplex", "openSeconds"],
      limit:
        "Two cores for eight clients and eight servers. The number of processes comes from two limits: descriptors (20,000 a process here), and half of the port range for each destination, beyond which connect() searches long.",
    },
    {
      what: "all of them talking at once: messages per second",
      unit: "1/s",
      better: "more",
      ours: ["multiplex", "perSecond"],
      limit: "The same two cores, and caches: 200,000 sockets do not fit into any.",
    },
    {
      what: "memory of each: our client",
      unit: "bytes",
      better: "less",
      ours: ["multiplex", "clientBytes"],
      limit:
        "As an idle connection of the server, and a listener and a latency for each message under way.",
    },
    {
      what: "memory of each: our server",
      unit: "bytes",
      better: "less",
      ours: ["multiplex", "serverBytes"],
      limit: "As an idle connection.",
    },
    {
      what: "memory of each: the kernel's slab, both ends",
      unit: "bytes",
      better: "less",
      ours: ["multiplex", "kernelBytes"],
      limit:
        "Two sockets with their inodes, files and directory entries, and two entries in an epoll set. Nothing that a program could save.",
    },
  ],
  growth: [
    {
      what: "100,000 connections: opened after",
      of: "connections",
      loads: [1_000, 10_000, 100_000],
      unit: "s",
      source: ["multiplex", "openSeconds"],
      kind: "total",
    },
    {
      what: "100,000 connections: messages per second",
      of: "connections",
      loads: [1_000, 10_000, 100_000],
      unit: "1/s",
      source: ["multiplex", "perSecond"],
      kind: "rate",
    },
  ],
};
