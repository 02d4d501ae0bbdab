/**
 * descriptors: which socket a system call is about.
 *
 * A descriptor is a number of one process for a time: from socket() or accept() to close(). strace shows the addresses of the socket
 * behind it, but not while it has none, nor after a reset took them away. So a life is followed from its beginning to its end, and
 * what is learnt in the middle holds for all of it.
 */
import { readSockaddr, readSocketName } from "./endpoints.ts";
import { happeningsIn } from "./poll-text.ts";
import { errnoOf, returned, splitArguments, type Syscall } from "./strace.ts";
import type { PacketEnd } from "./tcpdump.ts";

/** One socket, from the call that made it to the one that closed it. */
export type SocketLife = {
  readonly protocol: "tcp" | "udp";
  readonly fd: number;
  /** Learnt on the way: bind(), connect(), accept(), or what strace shows beside the descriptor. */
  local: PacketEnd | undefined;
  remote: PacketEnd | undefined;
  /** Was listen() called on it? */
  isListener: boolean;
  /** Did it come out of accept()? Or did it call connect()? */
  origin: "accept" | "connect" | undefined;
};

/** A system call on a socket. */
export type SocketCall = {
  readonly call: Syscall;
  readonly life: SocketLife;
  /** For accept(): the listener. */
  readonly listener?: SocketLife;
  /** For epoll_wait() and the like: what has happened to this socket, such as EPOLLIN. */
  readonly events?: string;
  /** The other end of a datagram. */
  readonly peer?: PacketEnd;
};

/** Follows the sockets through all calls of one strace. */
export function socketCalls(calls: readonly Syscall[]): readonly SocketCall[] {
  return new Descriptors(calls).follow();
}

type Table = {
  readonly lives: Map<number, SocketLife>;
  /** Epoll descriptor and user data, as registered by epoll_ctl(), to the socket. */
  readonly watched: Map<string, SocketLife>;
};

const WAITS: ReadonlySet<string> = new Set([
  "epoll_wait",
  "epoll_pwait",
  "epoll_pwait2",
  "poll",
  "ppoll",
  "select",
  "pselect6",
]);

class Descriptors {
  readonly #calls: readonly Syscall[];
  /** Thread to the table of its process. */
  readonly #tables = new Map<number, Table>();
  readonly #found: SocketCall[] = [];

  constructor(calls: readonly Syscall[]) {
    this.#calls = calls;
  }

  follow(): readonly SocketCall[] {
    for (const call of this.#calls) {
      const table = this.#tableOf(call.pid);
      if (/^(clone3?|v?fork)$/.test(call.name)) this.#share(call, table);
      else if (WAITS.has(call.name)) this.#wait(call, table);
      else if (call.name === "epoll_ctl") this.#watch(call, table);
      else if (call.name === "socket") this.#open(call, table);
      else if (call.name.startsWith("accept")) this.#accept(call, table);
      else this.#use(call, table);
    }
    return this.#found;
  }

  #tableOf(pid: number): Table {
    const table = this.#tables.get(pid) ?? { lives: new Map(), watched: new Map() };
    this.#tables.set(pid, table);
    return table;
  }

  /** A thread has the table of its process, a process a copy of its parent's. */
  #share(call: Syscall, table: Table): void {
    const child = returned(call);
    if (child === undefined) return;
    const isThread = call.args.includes("CLONE_FILES") || call.args.includes("CLONE_THREAD");
    const copy = { lives: new Map(table.lives), watched: new Map(table.watched) };
    const early = this.#tables.get(child);
    // What the child did before its parent's call returned was put into a table of its own.
    for (const [fd, life] of early?.lives ?? []) (isThread ? table : copy).lives.set(fd, life);
    this.#tables.set(child, isThread ? table : copy);
  }

  #open(call: Syscall, table: Table): void {
    const name = readSocketName(call.result ?? "");
    if (name !== undefined) this.#add(call, this.#begin(table, name));
  }

  #accept(call: Syscall, table: Table): void {
    const listener = this.#lifeAt(splitArguments(call.args)[0] ?? "", table);
    if (listener === undefined) return;
    listener.isListener = true;
    const name = readSocketName(call.result ?? "");
    const life = name === undefined ? listener : this.#begin(table, name);
    if (name !== undefined) life.origin = "accept";
    this.#found.push({ call, life, listener });
  }

  #use(call: Syscall, table: Table): void {
    const life = this.#lifeAt(splitArguments(call.args)[0] ?? "", table);
    if (life === undefined) return;
    const peer = readSockaddr(call.args);
    learn(life, call, peer);
    this.#found.push({ call, life, ...(peer === undefined ? {} : { peer }) });
    if (call.name === "close" && errnoOf(call) === undefined) table.lives.delete(life.fd);
  }

  #watch(call: Syscall, table: Table): void {
    const [epoll = "", , target = "", event = ""] = splitArguments(call.args);
    const life = this.#lifeAt(target, table);
    if (life === undefined) return;
    table.watched.set(`${parseInt(epoll)} ${userData(event)}`, life);
    this.#add(call, life);
  }

  #wait(call: Syscall, table: Table): void {
    if (!((returned(call) ?? 0) > 0)) return;
    const args = splitArguments(call.args);
    if (!call.name.startsWith("epoll")) {
      this.#poll(call, table);
      return;
    }
    for (const event of splitArguments((args[1] ?? "").replace(/^\[|\]$/g, ""))) {
      const data = userData(event);
      // Newer libuv registers through io_uring, where strace sees nothing; what epoll gives back is the descriptor.
      const life =
        table.watched.get(`${parseInt(args[0] ?? "")} ${data}`) ?? table.lives.get(Number(data));
      const events = /events=([A-Z|]+)/.exec(event)?.[1];
      if (life !== undefined && events !== undefined) this.#found.push({ call, life, events });
    }
  }

  #poll(call: Syscall, table: Table): void {
    for (const { fd, events } of happeningsIn(call.result ?? "")) {
      const life = table.lives.get(fd);
      if (life !== undefined) this.#found.push({ call, life, events });
    }
  }

  #add(call: Syscall, life: SocketLife): void {
    this.#found.push({ call, life });
  }

  /** The socket that an argument names, with what strace shows of it learnt. */
  #lifeAt(argument: string, table: Table): SocketLife | undefined {
    const name = readSocketName(argument);
    const fd = name?.fd ?? Number(/^\d+/.exec(argument)?.[0] ?? NaN);
    const known = table.lives.get(fd);
    if (name === undefined) return known;
    if (known?.protocol !== name.protocol) return this.#begin(table, name);
    known.local = name.local ?? known.local;
    known.remote = name.remote ?? known.remote;
    return known;
  }

  #begin(table: Table, name: Pick<SocketLife, "fd" | "protocol" | "local" | "remote">): SocketLife {
    const life: SocketLife = { ...name, isListener: false, origin: undefined };
    table.lives.set(name.fd, life);
    return life;
  }
}

/** What a call tells about the socket that it is made on. */
function learn(life: SocketLife, { name }: Syscall, address: PacketEnd | undefined): void {
  if (name === "listen") life.isListener = true;
  // Port 0 leaves the choice to the kernel.
  if (name === "bind" && address?.port !== 0) life.local ??= address;
  if (name !== "connect") return;
  life.remote ??= address;
  life.origin = "connect";
}

/** What a program asked epoll to give back: libuv gives the number of the descriptor, others a pointer. */
function userData(event: string): string {
  return /u64=(\d+|0x[0-9a-f]+)/.exec(event)?.[1] ?? "";
}
