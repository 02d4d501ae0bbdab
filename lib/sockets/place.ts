/** place: an endpoint as somebody types it. Whatever a tool prints may be pasted, and a port alone will do. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { colonEndpoint } from "./endpoint.ts";
import { plainAddress } from "./identity.ts";
import type { Endpoint } from "./record.ts";

/** One reading of what was typed. What it leaves out may be anything; the port null is "any", as a listener's peer has it. */
export type Place = {
  /** As plainAddress() spells it. */
  readonly address?: string;
  readonly zone?: string;
  readonly port?: number | null;
};

/**
 * Reads `80`, `:80`, `127.0.0.1`, `127.0.0.1:80`, `*:80`, `[::1]:80`, `FE80::2%eth0`. There may be two readings: without
 * brackets, as netstat prints it, `::1:80` is an address as well as an address and a port.
 *
 * @throws Error for what is neither a port nor an address, such as a host name.
 */
export function placesNamed(text: string): readonly Place[] {
  const readings = readingsOf(text);
  if (readings.length > 0) return readings;
  throw new Error(
    `expected a port, an address or both, such as 80, 127.0.0.1:80 or [::1]:80, got ${JSON.stringify(text.slice(0, 60))}`,
  );
}

function readingsOf(text: string): Place[] {
  // A bracket alone: something was cut.
  if (text.startsWith("[") !== text.includes("]")) return [];
  if (/^:?\d+$/.test(text)) {
    const port = portOf(text.replace(":", ""));
    return port === undefined ? [] : [{ port }];
  }
  const whole = addressPlace(colonEndpoint(`${text}:*`));
  const split = addressPlace(colonEndpoint(text));
  const port = portOf(text.slice(text.lastIndexOf(":") + 1));
  return [
    ...(whole === undefined ? [] : [whole]),
    ...(split === undefined || port === undefined ? [] : [{ ...split, port }]),
  ];
}

function addressPlace(endpoint: Endpoint | undefined): Place | undefined {
  const address = endpoint === undefined ? undefined : addressNamed(endpoint.address);
  if (address === undefined) return undefined;
  return { address, ...(endpoint?.zone === undefined ? {} : { zone: endpoint.zone }) };
}

function addressNamed(text: string): string | undefined {
  // SocketAddress spells it as inet_ntop(3) does, and so do the tools: people write more zeros.
  if (isIPv6(text))
    return plainAddress(new SocketAddress({ address: text, family: "ipv6" }).address);
  return text === "*" || isIPv4(text) ? plainAddress(text) : undefined;
}

function portOf(text: string): Place["port"] {
  if (text === "*") return null;
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return number >= 1 && number <= 65_535 ? number : undefined;
}

/** Is this endpoint meant? A zone counts only where the tool shows one: netstat and /proc do not. */
export function isAt({ address, port, zone }: Endpoint, places: readonly Place[]): boolean {
  const plain = plainAddress(address);
  return places.some(
    (place) =>
      (place.port === undefined || place.port === port) &&
      (place.address === undefined || place.address === plain) &&
      (place.zone === undefined || zone === undefined || place.zone === zone),
  );
}
