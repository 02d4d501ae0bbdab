/** json-server-report: what a JSON server says about itself: a status line, and its events as a log. */
import { bytes, count } from "./format.ts";
import type { ServerEvent } from "../protocol/json/events.ts";
import type { Closing, JsonServer } from "../protocol/json/server.ts";

/** One line of at most 80 columns for an address of usual length. */
export function jsonStatusLine(address: string, server: JsonServer): string {
  const { tally } = server;
  const errors = [...tally.errors.values()].reduce((sum, many) => sum + many, 0);
  return [
    address,
    `clients ${count(server.clients())}`,
    `messages ${count(tally.messages)}`,
    `in ${bytes(tally.bytesIn)}`,
    `out ${bytes(tally.bytesOut)}`,
    ...(errors > 0 ? [`errors ${count(errors)}`] : []),
  ].join("  ");
}

/** The last line of `--json`. */
export function jsonSummary({ tally }: JsonServer, closing: Closing): string {
  const { accepted, messages, bytesIn, bytesOut } = tally;
  return JSON.stringify({
    event: "summary",
    version: 1,
    accepted,
    messages,
    bytesIn,
    bytesOut,
    ...closing,
  });
}

/** There are fewer descriptors than clients may come. */
export function shortageLine(room: number, maxConnections: number): string {
  return `server: descriptors for ${count(room)} connections, fewer than --max-connections ${count(maxConnections)}: further ones are lost without a word; see ulimit -n`;
}

const LEVELS: Readonly<Record<ServerEvent["event"], "info" | "warn" | "error">> = {
  connect: "info",
  disconnect: "info",
  authenticated: "info",
  shutdown: "info",
  protocol_error: "warn",
  tls_error: "warn",
  dropped: "warn",
  accept_error: "error",
  handler_error: "error",
};

/** An event as one line: JSON, or words for people. */
export function logLine(event: ServerEvent, format: "json" | "text", time = new Date()): string {
  const { event: name, ...fields } = event;
  const stamp = { time: time.toISOString(), level: LEVELS[name] };
  if (format === "json") return JSON.stringify({ ...stamp, event: name, ...fields });
  const words = Object.entries(fields).map(([key, value]) => `${key}=${worded(value)}`);
  return [stamp.time, stamp.level.padEnd(5), name, ...words].join(" ");
}

/** A value with blanks or control characters in it is quoted: one event stays one line, whatever a peer sends. */
function worded(value: string | number): string {
  const text = `${value}`;
  return /^[\w.:/+-]+$/.test(text) ? text : JSON.stringify(text);
}
