/** endpoints: who talks with whom, in one spelling for strace and tcpdump. */
import type { PacketEnd } from "./tcpdump.ts";

/** The socket behind a descriptor, as `strace -yy` prints it. */
export type SocketName = {
  readonly fd: number;
  readonly protocol: "tcp" | "udp";
  /** Undefined for a socket without a name yet: strace prints its inode. */
  readonly local: PacketEnd | undefined;
  readonly remote: PacketEnd | undefined;
};

const NAMED = /^(-?\d+)<(TCP|UDP)(?:v6)?:\[(.*?)\]>/;

/** Reads `19<TCP:[127.0.0.1:32862->127.0.0.1:8080]>` at the beginning of a text; undefined when it is no socket of TCP or UDP. */
export function readSocketName(text: string): SocketName | undefined {
  const [, fd, kind, inside = ""] = NAMED.exec(text) ?? [];
  if (fd === undefined) return undefined;
  const [local, remote] = inside.split("->").map(readEnd);
  return { fd: Number(fd), protocol: kind === "TCP" ? "tcp" : "udp", local, remote };
}

/** Reads `127.0.0.1:8080`, `[::1]:8080` and `[::ffff:127.0.0.1]:8080`; a bare inode is no end. */
function readEnd(text: string): PacketEnd | undefined {
  const [, address, port] = /^(.+):(\d+)$/.exec(text) ?? [];
  return address === undefined ? undefined : { address: plain(address), port: Number(port) };
}

/** An IPv4 address that an IPv6 socket uses travels as IPv4: so it is spelled here. */
export function plain(address: string): string {
  const bare = address.replace(/^\[/, "").replace(/\]$/, "");
  return /^::ffff:\d+\./i.test(bare) ? bare.slice("::ffff:".length) : bare;
}

/** Reads the address in `{sa_family=AF_INET, sin_port=htons(4000), sin_addr=inet_addr("127.0.0.1")}`. */
export function readSockaddr(text: string): PacketEnd | undefined {
  const port = /sin6?_port=htons\((\d+)\)/.exec(text)?.[1];
  const address = /inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"/.exec(text);
  if (port === undefined || address === null) return undefined;
  return { address: plain(address[1] ?? address[2] ?? ""), port: Number(port) };
}

/** Are both the same end? */
export function isSameEnd(one: PacketEnd, other: PacketEnd): boolean {
  return one.port === other.port && one.address === other.address;
}
