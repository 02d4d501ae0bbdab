/** identity: when two tools mean the same socket. */
import type { Endpoint, SocketRecord } from "./record.ts";

/**
 * Both endpoints of a socket in one spelling: `127.0.0.1:80 127.0.0.1:51650`, `*:80 *:*`.
 *
 * The tools write "any address" as `*`, `0.0.0.0` or `::`, and a connection of an IPv6 socket to an IPv4 peer with
 * `::ffff:` before the address (ss, /proc) or without it (netstat, lsof). Not comparable: service and host names, and
 * addresses that the tool cut.
 */
export function identityOf({ local, remote }: Pick<SocketRecord, "local" | "remote">): string {
  return `${spell(local)} ${spell(remote)}`;
}

const ANY = new Set(["*", "0.0.0.0", "::"]);
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/;

/** An address in the spelling that all tools share: `*` for any, no `::ffff:`, small letters. */
export function plainAddress(address: string): string {
  if (!address.includes(":")) return ANY.has(address) ? "*" : address;
  const small = address.toLowerCase();
  const plain = MAPPED.exec(small)?.[1] ?? small;
  return ANY.has(plain) ? "*" : plain;
}

function spell({ address, port }: Endpoint): string {
  return `${plainAddress(address)}:${port ?? "*"}`;
}
