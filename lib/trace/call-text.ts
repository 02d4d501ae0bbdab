/** call-text: a system call in the few words that a table has room for: what was asked, what came back. */
import { endpointText } from "../sockets/endpoint.ts";
import { readSockaddr } from "./endpoints.ts";
import { errnoOf, returned, splitArguments, type Syscall } from "./strace.ts";

/** What a call on a socket was asked for and what it gave. */
export type CallFacts = {
  /** Bytes that a read had room for, or that a write was given; undefined for other calls. */
  readonly asked: number | undefined;
  /** What it returned, errors aside: bytes, or a new descriptor. */
  readonly got: number | undefined;
  readonly errno: string | undefined;
  /** `read(19, 65536) = 10`. */
  readonly text: string;
};

const BYTES = /^(read|write|send|recv|sendto|recvfrom|sendmsg|recvmsg|readv|writev|sendfile)$/;
const MAKES_DESCRIPTOR = /^(socket|accept4?)$/;

/** The facts of a call. `events` is what a waiting call says about this socket. */
export function callFacts(call: Syscall, fd: number, events?: string): CallFacts {
  const asked = BYTES.test(call.name) ? askedBytes(call) : undefined;
  const errno = errnoOf(call);
  const got = returned(call);
  const inside = [...(call.name === "socket" ? [] : [`${fd}`]), ...details(call, asked)].join(", ");
  if (events !== undefined) return { asked, got, errno, text: `${call.name} = ${fd} ${events}` };
  const isTold = asked !== undefined || MAKES_DESCRIPTOR.test(call.name);
  const outcome = errno ?? (isTold && got !== undefined ? `${got}` : undefined);
  const isOver = call.result !== undefined;
  const shown = isOver ? outcome : "?";
  const text = `${call.name}(${inside})${shown === undefined ? "" : ` = ${shown}`}`;
  return { asked, got, errno, text };
}

/** What stands behind the descriptor: the arguments that a reader wants to know. */
const DETAILS: Readonly<Record<string, (args: readonly string[]) => readonly string[]>> = {
  bind: addressArgument,
  connect: addressArgument,
  listen: ([, backlog = ""]) => [backlog],
  shutdown: ([, how = ""]) => [how],
  setsockopt: ([, , option = "", value = ""]) => [option, value.replace(/^\[(.*)\]$/, "$1")],
  getsockopt: ([, , option = ""]) => [option],
  epoll_ctl: ([, operation = "", , event = ""]) => [
    operation.replace("EPOLL_CTL_", ""),
    ...(/events=([A-Z|]+)/.exec(event)?.slice(1) ?? []),
  ],
};

function details(call: Syscall, asked: number | undefined): readonly string[] {
  if (asked !== undefined) return [`${asked}`];
  return DETAILS[call.name]?.(splitArguments(call.args)) ?? [];
}

function addressArgument([, address = ""]: readonly string[]): readonly string[] {
  const end = readSockaddr(address);
  return end === undefined ? [] : [endpointText(end)];
}

/** The size of the buffer; for a vector the sum of its parts. */
function askedBytes(call: Syscall): number | undefined {
  const parts = [...call.args.matchAll(/iov_len=(\d+)/g)].map((match) => Number(match[1]));
  if (parts.length > 0) return parts.reduce((sum, part) => sum + part, 0);
  const size = splitArguments(call.args)[call.name === "sendfile" ? 3 : 2];
  return size !== undefined && /^\d+$/.test(size) ? Number(size) : undefined;
}
