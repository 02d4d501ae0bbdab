/**
 * kernel-objects: what stands behind the descriptors of a process: descriptor -> inode -> row of the socket table.
 *
 * Source: proc(5) for /proc/PID/fd and fdinfo, ss(8) for skmem: r, t and w are bytes in the receive queue, on their way out, and in
 * the send queue; rb and tb the limits of both buffers.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { execa } from "execa";
import { commandLine, inodeOfSocket, processTrouble, type Pid } from "../kernel/process.ts";
import { wayIntoNetwork } from "../kernel/sandbox.ts";
import { readProcNet } from "../sockets/capture.ts";
import { parseSs } from "../sockets/ss.ts";
import type { SocketRecord } from "../sockets/record.ts";

/** Memory of a socket, in bytes. */
export type SocketMemory = Readonly<
  Record<"received" | "receiveLimit" | "sent" | "sendLimit", number>
>;

/** A descriptor that is a socket of TCP or UDP. */
export type SocketDescriptor = {
  readonly fd: number;
  readonly inode: number;
  /** A listener has no other end: its queues count connections, not bytes. */
  readonly role: "listening" | "connection" | "datagram";
  /** The row of the socket table. */
  readonly record: SocketRecord;
  readonly memory: SocketMemory | undefined;
  /** What epoll was asked to tell of it, by the number of the epoll descriptor. */
  readonly watched: readonly Watch[];
};

/** The descriptors of a process. */
export type KernelObjects = {
  readonly pid: number;
  readonly command: string;
  readonly sockets: readonly SocketDescriptor[];
  /**
   * Everything else, by kind: `pipe`, `eventpoll`, `file`, `unix socket` ... with the numbers of the descriptors. `other socket` has no
   * row in the tables of TCP and UDP: it has no port yet, or speaks something else.
   */
  readonly others: Readonly<Record<string, readonly number[]>>;
  /** What was looked into. */
  readonly source: string;
  readonly notes: readonly string[];
};

/** Looks behind the descriptors of a process. @throws NeedsError for a process that is gone or another user's. */
export async function kernelObjects(pid: number): Promise<KernelObjects> {
  const targets = descriptorTargets(pid);
  const table = await socketTable(pid);
  const byInode = new Map(table.records.map((record) => [record.inode, record]));
  // A descriptor may have been inherited from a process of another network: ours, if we started it.
  const unix = new Set([...unixInodes(pid), ...unixInodes("self")]);
  const watches = epollWatches(pid, targets);
  const sockets: SocketDescriptor[] = [];
  const others: Record<string, number[]> = {};
  for (const [fd, target] of targets) {
    const inode = inodeOfSocket(target);
    const record = byInode.get(inode);
    if (inode === undefined || record === undefined) {
      const kind =
        inode === undefined ? kindOf(target) : unix.has(inode) ? "unix socket" : "other socket";
      (others[kind] ??= []).push(fd);
    } else {
      const watched = watches.get(fd) ?? [];
      const memory = memoryOf(record.details?.["skmem"]);
      sockets.push({ fd, inode, role: roleOf(record), record, memory, watched });
    }
  }
  const { source, notes } = table;
  return { pid, command: commandLine(pid).join(" "), sockets, others, source, notes };
}

function descriptorTargets(pid: number): ReadonlyMap<number, string> {
  const folder = `/proc/${pid}/fd`;
  try {
    const numbers = readdirSync(folder)
      .map(Number)
      .sort((a, b) => a - b);
    return new Map(
      numbers.flatMap((fd) => {
        const target = linkTarget(`${folder}/${fd}`);
        return target === undefined ? [] : [[fd, target] as const];
      }),
    );
  } catch (error) {
    throw processTrouble(pid, error);
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // Closed since it was listed.
  }
}

/** `pipe:[2]`, `anon_inode:[eventpoll]`, `anon_inode:inotify`, `/dev/null`. */
function kindOf(target: string): string {
  return /^anon_inode:\[?(\w+)/.exec(target)?.[1] ?? /^(pipe):/.exec(target)?.[1] ?? "file";
}

type Table = Pick<KernelObjects, "source" | "notes"> & {
  readonly records: readonly SocketRecord[];
};

/** The process may live in another network, as everything in a sandbox or a container does. */
async function socketTable(pid: number): Promise<Table> {
  const way = await wayIntoNetwork(pid).catch((error: unknown) => {
    throw processTrouble(pid, error);
  });
  const [file, ...args] = [...(way ?? []), "ss", "-tuaneomi"];
  if (way !== undefined) {
    const { exitCode, stdout } = await execa(file, args, { reject: false, env: { LC_ALL: "C" } });
    if (exitCode === 0)
      return { records: parseSs(stdout).records, source: [file, ...args].join(" "), notes: [] };
  }
  return {
    records: readProcNet({ pid }),
    source: `/proc/${pid}/net/tcp, tcp6`,
    notes: ["ss could not be run in the network of that process: no buffers and no UDP here"],
  };
}

function unixInodes(pid: Pid): ReadonlySet<number> {
  try {
    const text = readFileSync(`/proc/${pid}/net/unix`, "latin1");
    const inodes = text
      .split("\n")
      .slice(1)
      .map((line) => Number(line.split(/\s+/)[6]));
    return new Set(inodes);
  } catch {
    return new Set();
  }
}

function roleOf(record: SocketRecord): SocketDescriptor["role"] {
  if (record.protocol === "udp") return "datagram";
  return record.state === "LISTEN" ? "listening" : "connection";
}

/** `(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d0)`. */
function memoryOf(skmem: string | undefined): SocketMemory | undefined {
  const parts = [...(skmem ?? "").matchAll(/\b([a-z]+)(\d+)/g)];
  const values = new Map(parts.map(([, name, digits]) => [name, Number(digits)]));
  const memory = {
    received: values.get("r") ?? NaN,
    receiveLimit: values.get("rb") ?? NaN,
    sent: values.get("w") ?? NaN,
    sendLimit: values.get("tb") ?? NaN,
  };
  return Object.values(memory).some(Number.isNaN) ? undefined : memory;
}

/** One line of an epoll descriptor's list. */
export type Watch = {
  readonly epoll: number;
  readonly fd: number;
  readonly events: readonly string[];
};

/**
 * Who watches each descriptor. fdinfo of an epoll descriptor has a line for each that it watches: `tfd: 19 events: 19 data: 13`.
 */
function epollWatches(
  pid: number,
  targets: ReadonlyMap<number, string>,
): ReadonlyMap<number, readonly Watch[]> {
  const watches = new Map<number, Watch[]>();
  for (const [epoll, target] of targets) {
    if (target !== "anon_inode:[eventpoll]") continue;
    const text = textOf(`/proc/${pid}/fdinfo/${epoll}`);
    for (const [, tfd, mask = "0"] of text.matchAll(/^tfd:\s+(\d+) events:\s+([0-9a-f]+)/gm)) {
      const fd = Number(tfd);
      const known = watches.get(fd) ?? [];
      watches.set(fd, known);
      known.push({ epoll, fd, events: eventNames(parseInt(mask, 16)) });
    }
  }
  return watches;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // Closed since it was listed.
  }
}

/** Of include/uapi/linux/eventpoll.h, those that a program asks for. EPOLLERR and EPOLLHUP are always told. */
const EVENTS: readonly (readonly [bit: number, name: string])[] = [
  [0x1, "EPOLLIN"],
  [0x4, "EPOLLOUT"],
  [0x2000, "EPOLLRDHUP"],
  [0x4000_0000, "EPOLLONESHOT"],
  [0x8000_0000, "EPOLLET"],
];

function eventNames(mask: number): readonly string[] {
  return EVENTS.filter(([bit]) => (mask & bit) !== 0).map(([, name]) => name);
}
