/**
 * target: to whom load may be sent.
 *
 * These programs are weapons when pointed at somebody else. So they refuse every address that is not this machine's own
 * loopback, unless they run inside a sandbox, from which nothing leads out, or are told to with --allow-remote.
 */
import { lookup } from "node:dns/promises";
import { isIPv6, SocketAddress } from "node:net";
import { UsageError } from "./main.ts";

/** How fast connections may be opened to a remote address that was explicitly allowed. */
export const REMOTE_RATE_PER_SECOND = 100;

/** An address to send load to, and whether it is far away. */
export type Target = { readonly address: string; readonly isRemote: boolean };

/** What `resolveTarget` has to know of its surroundings. */
export type TargetRules = {
  readonly allowRemote: boolean;
  readonly isInSandbox: boolean;
  readonly isLoopback: (address: string) => boolean;
};

/**
 * Resolves a host name, an address, or an IPv6 address in brackets, as it stands before a port; to an IPv4 address where it has both kinds: server and clients have to take the same one for `localhost`.
 * Throws ENOTFOUND and the like for a name that does not resolve.
 */
export async function addressOf(host: string): Promise<string> {
  const inBrackets = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : "";
  const bare = isIPv6(inBrackets) ? inBrackets : host;
  const { address, family } = await lookup(bare, { order: "ipv4first" });
  return family === 6 ? canonical(address) : address;
}

/**
 * Resolves a host name and applies the rules. Throws UsageError for an address that is not allowed, ENOTFOUND and the like for a name that does not resolve.
 */
export async function resolveTarget(host: string, rules: TargetRules): Promise<Target> {
  const address = await addressOf(host);
  const isRemote = !rules.isLoopback(address) && !rules.isInSandbox;
  if (isRemote && !rules.allowRemote)
    throw new UsageError(
      `${host} (${address}) is not a loopback address: load is sent to others only with --allow-remote, at most ` +
        `${REMOTE_RATE_PER_SECOND} connections per second. Ask whoever owns it first`,
    );
  return { address, isRemote };
}

/** An IPv6 address has many spellings, and the kernel's tables one, that of inet_ntop(3): `::1` for `0:0:0:0:0:0:0:1`. A zone (`%eth0`) stays. */
function canonical(address: string): string {
  const [plain = "", ...zone] = address.split("%");
  const socketAddress = new SocketAddress({ address: plain, family: "ipv6" });
  return [socketAddress.address, ...zone].join("%");
}
