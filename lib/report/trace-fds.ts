/** trace-fds: descriptors and the kernel objects behind them, for reading. */
import type { ChalkInstance } from "chalk";
import type { KernelObjects, SocketDescriptor } from "../trace/kernel-objects.ts";
import { endpointText } from "../sockets/endpoint.ts";
import type { TcpState } from "../sockets/record.ts";
import { bytes, count, safe, wrapped } from "./format.ts";

/** One block for each socket, then a line about the rest. At most 80 columns. */
export function kernelObjectsReport(objects: KernelObjects, paint: ChalkInstance): string {
  const { pid, command, sockets, others, source, notes } = objects;
  const rest = Object.entries(others).map(([kind, fds]) => `${kind} ${fds.join(" ")}`);
  const all = sockets.length + Object.values(others).flat().length;
  return [
    wrapped(`pid ${pid}: ${safe(shortened(command))}`),
    wrapped(
      `${count(all)} descriptors, ${count(sockets.length)} of them sockets of TCP or UDP; table: ${source}`,
    ),
    "",
    ...sockets.flatMap((socket) => [...socketLines(socket, paint), ""]),
    ...(rest.length === 0 ? [] : [wrapped(`others: ${rest.join("; ")}`)]),
    ...notes.map((note) => wrapped(note, "note: ")),
  ].join("\n");
}

/** Without the folders of the program and its script. */
function shortened(command: string): string {
  return command
    .split(" ")
    .map((word, index) => (index < 2 ? (word.split("/").at(-1) ?? word) : word))
    .join(" ");
}

function socketLines(socket: SocketDescriptor, paint: ChalkInstance): readonly string[] {
  const { fd, role, record, inode, watched } = socket;
  const watch = watched.map(
    ({ epoll, events }) => `; epoll ${epoll} waits for ${events.join(", ") || "errors only"}`,
  );
  const facts = [`inode ${inode}${watch.join("")}`, ...queues(socket), ...memory(socket)];
  const timer = record.timer === undefined ? [] : [`timer: ${timerText(record.timer)}`];
  return [
    paint.bold(`fd ${fd}  ${role}  ${whereText(socket)}`),
    ...[...facts, ...timer].map((fact) => `       ${fact}`),
  ];
}

function whereText({ role, record }: SocketDescriptor): string {
  const { local, remote, state = "" } = record;
  return role === "connection"
    ? `${state}  ${endpointText(local)} <-> ${endpointText(remote)}`
    : endpointText(local);
}

function memory({ memory, role }: SocketDescriptor): readonly string[] {
  if (memory === undefined || role === "listening") return [];
  const { received, receiveLimit, sent, sendLimit } = memory;
  return [
    `memory: receive ${bytes(received)} of ${bytes(receiveLimit)}, send ${bytes(sent)} of ${bytes(sendLimit)}`,
  ];
}

/** The table's two queues mean something else for a listener; for a socket of UDP they are the memory that it has in use. */
function queues({ role, record }: SocketDescriptor): readonly string[] {
  const { recvQ = 0, sendQ = 0, state } = record;
  switch (role) {
    case "listening":
      return [`accept queue: ${count(recvQ)} wait for accept(), backlog ${count(sendQ)}`];
    case "datagram":
      return [`queues: memory of ${bytes(recvQ)} not yet read, of ${bytes(sendQ)} not yet sent`];
    case "connection": {
      const read = sequenceText(recvQ, state === undefined ? undefined : RECEIVED[state]);
      const acked = sequenceText(sendQ, state === undefined ? undefined : SENT[state]);
      return [`queues: ${read} not yet read, ${acked} not yet acknowledged`];
    }
  }
}

/** What stands at the end of the receive queue until the program has read it, and takes a sequence number as a byte does. */
const RECEIVED: Partial<Record<TcpState, string>> = {
  CLOSE_WAIT: "the FIN",
  CLOSING: "the FIN",
  LAST_ACK: "the FIN",
};

/** The same of the send queue, until it is acknowledged. */
const SENT: Partial<Record<TcpState, string>> = {
  SYN_SENT: "the SYN",
  FIN_WAIT1: "the FIN",
  CLOSING: "the FIN",
  LAST_ACK: "the FIN",
};

function sequenceText(length: number, flag: string | undefined): string {
  if (flag === undefined || length === 0) return `${count(length)} bytes`;
  return length === 1 ? flag : `${count(length - 1)} bytes and ${flag}`;
}

function timerText({
  name,
  remainingMs,
  retransmits,
}: {
  readonly name: string;
  readonly remainingMs: number;
  readonly retransmits: number;
}): string {
  const tries = retransmits === 1 ? "1 try" : `${retransmits} tries`;
  return `${name}, ${(remainingMs / 1_000).toFixed(1)} s to go${retransmits === 0 ? "" : `, ${tries} so far`}`;
}

/** The same as data, version 1. */
export function kernelObjectsJson(objects: KernelObjects): string {
  return JSON.stringify({ version: 1, ...objects });
}
