/** endpoint: an address and a port from the one word that a tool prints. */
import { isIPv6 } from "node:net";
import type { Endpoint } from "./record.ts";
import { wholeNumber } from "./lines.ts";

/**
 * Reads `127.0.0.1:80`, `[::1]:80`, `:::22`, `*:*`, `fe80::1%eth0:22`, `[fe80::1]%eth0:22`, `localhost:ssh`: the port
 * is behind the last colon. Undefined when there is no colon. The port 0 means "any", like `*`: no TCP socket has it.
 */
export function colonEndpoint(word: string): Endpoint | undefined {
  const colon = word.lastIndexOf(":");
  const port = word.slice(colon + 1);
  // No port has a dot in it: then it is an address, or one whose port is behind that dot.
  return colon < 0 || port.includes(".") ? undefined : endpoint(word.slice(0, colon), port);
}

/** Reads `127.0.0.1.80`, `*.*`, `::1.6012`, `localhost.smtp`: BSD and its children put the port behind the last dot. */
export function dotEndpoint(word: string): Endpoint | undefined {
  const dot = word.lastIndexOf(".");
  return dot < 0 ? undefined : endpoint(word.slice(0, dot), word.slice(dot + 1));
}

/** `127.0.0.1:80`, `[::1]:80`, `[fe80::1%eth0]:80`: as RFC 5952 has it, so that nobody takes the port for a part of the address; `*` for any port. */
export function endpointText({ address, port, zone }: Endpoint): string {
  const whole = zone === undefined ? address : `${address}%${zone}`;
  return `${address.includes(":") ? `[${whole}]` : whole}:${port ?? "*"}`;
}

function endpoint(rawAddress: string, port: string): Endpoint {
  const zoneAt = rawAddress.indexOf("%");
  const zone = zoneAt < 0 ? undefined : rawAddress.slice(zoneAt + 1).replace("]", "");
  const address = withoutBrackets(zoneAt < 0 ? rawAddress : rawAddress.slice(0, zoneAt));
  const plain = { address, port: portOf(port) };
  const cut = address.includes(":") && !isIPv6(address);
  if (zone === undefined && !cut) return plain;
  return { ...plain, ...(zone === undefined ? {} : { zone }), ...(cut ? { truncated: true } : {}) };
}

function withoutBrackets(address: string): string {
  if (address.charCodeAt(0) !== 91) return address;
  return address.endsWith("]") ? address.slice(1, -1) : address.slice(1);
}

function portOf(text: string): Endpoint["port"] {
  const number = wholeNumber(text);
  if (number !== undefined) return number === 0 ? null : number;
  return text === "*" || text === "" ? null : text;
}

/** 6 for an address with colons, 4 for one of digits and dots; undefined for `*` and for names. */
export function familyOf({ address }: Endpoint): 4 | 6 | undefined {
  if (address.includes(":")) return 6;
  const first = address.charCodeAt(0);
  return first >= 48 && first <= 57 && isDottedQuad(address) ? 4 : undefined;
}

/** Digits and three dots. Not `net.isIPv4`: that one is ten times slower, and the tools print no 999.1.1.1. */
function isDottedQuad(address: string): boolean {
  let dots = 0;
  for (let index = 0; index < address.length; index += 1) {
    const code = address.charCodeAt(index);
    if (code === 46) dots += 1;
    else if (code < 48 || code > 57) return false;
  }
  return dots === 3;
}

/** Marks an endpoint as cut. */
export function truncated(endpoint: Endpoint): Endpoint {
  return { ...endpoint, truncated: true };
}

/** Does a word end like an endpoint: `:80`, `.80`, `:*`? Tells a row from prose. */
export function looksLikeEndpoint(word: string): boolean {
  const at = Math.max(word.lastIndexOf(":"), word.lastIndexOf("."));
  if (at < 0) return false;
  const port = word.slice(at + 1);
  return port === "*" || (word.length > port.length + 1 && wholeNumber(port) !== undefined);
}
