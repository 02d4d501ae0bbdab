/** taken-ports: which local ports connect() will not choose for a destination. */
import { plainAddress } from "./identity.ts";
import type { SocketRecord } from "./record.ts";

/**
 * Local ports that cannot carry another connection to `remotePort` of `address`: those that have one, in whatever state, and those
 * that a listener is bound to. Where ports come back by themselves, a TIME_WAIT takes none away for long: `timeWaits` says
 * whether it counts. Source: __inet_hash_connect() in net/ipv4/inet_hashtables.c.
 */
export function takenPorts(
  records: readonly SocketRecord[],
  address: string,
  remotePort: number,
  timeWaits: "count" | "come back" = "count",
): ReadonlySet<number> {
  const taken = new Set<number>();
  for (const { protocol, state, local, remote } of records) {
    if (protocol !== "tcp" || typeof local.port !== "number") continue;
    if (state === "TIME_WAIT" && timeWaits === "come back") continue;
    const isSameDestination = remote.port === remotePort && sameAddress(remote.address, address);
    if (isSameDestination || state === "LISTEN") taken.add(local.port);
  }
  return taken;
}

/** An IPv4 address may appear mapped into IPv6, `::ffff:127.0.0.1`. A zone (`%eth0`) does not appear in /proc. */
function sameAddress(shown: string, address: string): boolean {
  return plainAddress(shown) === plainAddress(address.replace(/%.*/, ""));
}
