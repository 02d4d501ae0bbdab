/** multiplex: many connections at once, and what they cost both sides. Prints nothing. */
import { NeedsError } from "../kernel/errors.ts";
import { ephemeralPorts } from "../kernel/ports.ts";
import {
  descriptorLimit,
  openDescriptors,
  ownerOfSocket,
  processStatus,
  type Pid,
} from "../kernel/process.ts";
import { startServer } from "../lab/program.ts";
import { Crowd, type Exchanged, type Opened } from "../protocol/crowd.ts";
import { readProcNet } from "../sockets/capture.ts";
import { takenPorts } from "../sockets/taken-ports.ts";

/** What to do. */
export type MultiplexOptions = {
  readonly host: string;
  /** Port of a server that is there already; undefined to start one. */
  readonly port: number | undefined;
  readonly connections: number;
  readonly messages: number;
  readonly messageBytes: number;
  /** Handshakes under way at the same time. */
  readonly opening: number;
  /** All at once, or, to compare, one connection after the other. */
  readonly how: "at-once" | "in-turns";
  readonly signal: AbortSignal;
};

/** One process at one instant. */
export type ProcessView = {
  readonly threads: number;
  readonly rssBytes: number;
  readonly descriptors: number;
};

/** A process before the connections were opened, and with all of them open. */
export type SideView = { readonly before: ProcessView; readonly open: ProcessView };

/** Everything that multiplex knows at its end. */
export type MultiplexResult = {
  readonly connections: number;
  readonly how: "at-once" | "in-turns";
  readonly opened: Opened;
  readonly exchanged: Exchanged;
  readonly client: SideView;
  /** Undefined when the server does not run on this machine, or belongs to somebody else. */
  readonly server: SideView | undefined;
};

/** Descriptors that a Node process may need beside its sockets, with room to spare. */
export const SPARE_DESCRIPTORS = 64;

/**
 * Opens the connections, lets all of them talk, closes them. Rejects with NeedsError, before anything is opened, when the
 * descriptor limit or the port range is too small.
 */
export async function multiplex(options: MultiplexOptions): Promise<MultiplexResult> {
  if (options.how === "at-once") checkLimits(options.connections);
  const server = await serverOf(options.port);
  try {
    if (options.how === "at-once") checkPorts(options.connections, options.host, server.port);
    return await meet(options, server);
  } finally {
    await server.stop();
  }
}

/** Finds out before the start what would otherwise be EMFILE in the middle, and in silence on the server's side. */
function checkLimits(connections: number): void {
  const { soft } = descriptorLimit();
  const needed = connections + SPARE_DESCRIPTORS;
  if (soft >= needed) return;
  const possible = Math.max(1, soft - SPARE_DESCRIPTORS);
  throw new NeedsError(
    `${connections} connections need about ${needed} descriptors in each process; the limit here is ${soft}.\n` +
      `  Raise the hard limit: ulimit -Hn ${needed} (as root), LimitNOFILE=${needed} (systemd),\n` +
      `  --ulimit nofile=${needed} (docker). Node raises the soft limit by itself.\n` +
      `  Or take fewer: multiplex --connections ${possible}`,
  );
}

function checkPorts(connections: number, address: string, port: number): void {
  const { low, high, ports } = ephemeralPorts();
  const taken = takenPorts(readProcNet(), address, port);
  const free = ports.filter((candidate) => !taken.has(candidate)).length;
  if (free >= connections) return;
  throw new NeedsError(
    `${connections} connections to one address and port need as many local ports; ${free} of ${low} to ${high} are free.\n` +
      `  Widen the range: sysctl -w net.ipv4.ip_local_port_range="1024 65535" (as root).\n` +
      `  Or take fewer: multiplex --connections ${free}`,
  );
}

type Server = {
  readonly pid: number | undefined;
  readonly port: number;
  readonly stop: () => Promise<unknown>;
};

async function serverOf(port: number | undefined): Promise<Server> {
  if (port === undefined)
    return startServer(["--host", "127.0.0.1", "--port", "0", "--backlog", "4096"]);
  const listener = readProcNet().find(
    (record) => record.state === "LISTEN" && record.local.port === port,
  );
  const pid = listener?.inode === undefined ? undefined : ownerOfSocket(listener.inode);
  return { pid, port, stop: () => Promise.resolve() };
}

async function meet(options: MultiplexOptions, server: Server): Promise<MultiplexResult> {
  const { host, connections, messages, opening, how, signal } = options;
  const message = Buffer.alloc(options.messageBytes, "x");
  const crowd = new Crowd({ host, port: server.port, connections, message, opening, signal });
  const before = { client: look("self"), server: lookIfThere(server.pid) };
  const opened = how === "at-once" ? await crowd.open() : { open: 0, durationMs: 0, failures: {} };
  const exchanged = await (how === "at-once"
    ? crowd.exchange(messages)
    : crowd.takeTurns(messages));
  const open = { client: look("self"), server: lookIfThere(server.pid) };
  crowd.close();
  return {
    connections,
    how,
    opened,
    exchanged,
    client: { before: before.client, open: open.client },
    server: before.server && open.server && { before: before.server, open: open.server },
  };
}

function look(pid: Pid): ProcessView {
  return { ...processStatus(pid), descriptors: openDescriptors(pid) };
}

function lookIfThere(pid: number | undefined): ProcessView | undefined {
  return pid === undefined ? undefined : look(pid);
}
