/** protocol-tables: the tables of docs/reference that have their home in the code of the protocol: errors, limits, events, metrics. */
import { CLIENT_ERRORS, type ClientErrorCode } from "../lib/protocol/json/client-errors.ts";
import type { ServerEvent } from "../lib/protocol/json/events.ts";
import { PROTOCOL_ERRORS } from "../lib/protocol/json/errors.ts";
import { LIMITS, type Limits } from "../lib/protocol/json/limits.ts";
import { metricsText } from "../lib/protocol/json/metrics.ts";
import { POLITE_REFUSALS } from "../lib/protocol/json/listener.ts";
import { createJsonServer } from "../lib/protocol/json/server.ts";

/** Limit to what it bounds, and the flag of `server` that sets it. */
const LIMIT_ROWS: { readonly [L in keyof Limits]: readonly [about: string, flag?: string] } = {
  maxFrameBytes: [
    "the longest payload, before and after inflating: `FRAME_TOO_LARGE`, `INFLATED_TOO_LARGE`",
    "--max-frame-bytes",
  ],
  maxConnections: [
    `clients at a time; one more gets \`TOO_MANY_CONNECTIONS\`. Of those at most ${POLITE_REFUSALS} at a time; further ones are closed without a word`,
    "--max-connections",
  ],
  maxErrorsInARow: ["bad messages with no good one between them; the next gets `TOO_MANY_ERRORS`"],
  ratePerSecond: [
    "messages per second from one client, 0 for any number; more get `RATE_LIMITED`, and then are not read until there is room",
    "--rate",
  ],
  rateBurst: [
    "messages that may come at once before the rate counts; 0 for as many as in one second",
  ],
  maxQueuedBytes: [
    "bytes of broadcasts that wait for one client; more gets it `SLOW_CONSUMER`; with larger frames four times `maxFrameBytes`",
  ],
  stallTimeoutMs: ["a client takes nothing of what waits for it for so long: `SLOW_CONSUMER`"],
  idleTimeoutMs: ["no request for so long: `IDLE_TIMEOUT`; 0 for never", "--idle-timeout-ms"],
  heartbeatMs: ["no byte for so long: the server sends a `ping`; 0 for never", "--heartbeat-ms"],
  heartbeatTimeoutMs: ["no byte for so long after that ping: `HEARTBEAT_TIMEOUT`"],
  authTimeoutMs: ["no token for so long: `AUTHENTICATION_TIMEOUT`"],
  handshakeTimeoutMs: ["no TLS handshake for so long: closed without a word"],
  lingerMs: [
    "after its last words and FIN the server goes on reading for so long, so that no reset destroys them on their way",
  ],
};

/** What becomes of the connection, and what next. */
const CLIENT_ERROR_ROWS: Readonly<Record<ClientErrorCode, readonly [fate: string, next: string]>> =
  {
    CONNECT_TIMEOUT: ["was never there", "`JsonClient` tries again; `connectTimeoutMs`"],
    REQUEST_TIMEOUT: [
      "stays; an answer that still comes is thrown away",
      "the request may have been carried out; `requestTimeoutMs`",
    ],
    CONNECTION_CLOSED: ["is gone", "`JsonClient` makes another; nothing is sent twice"],
    PEER_SILENT: [
      "is given up, with all requests under way",
      "`JsonClient` makes another; `heartbeatMs`, `heartbeatTimeoutMs`",
    ],
    SENT_BACK: ["stays", "the port of a JSON server: `server --protocol json`"],
    IN_FLIGHT_LIMIT: ["stays; nothing was sent", "wait for answers; `maxInFlight`"],
    CIRCUIT_OPEN: [
      "is not looked at",
      "after `halfOpenAfterMs` one request is let through, and decides",
    ],
    POOL_QUEUE_FULL: ["all of them stay", "less at a time; `maxQueue`, `max`"],
    POOL_TIMEOUT: [
      "all of them stay",
      "shorter work, or more connections; `acquireTimeoutMs`, `max`",
    ],
    CLIENT_CLOSED: ["has been closed by its user", "a new client or pool"],
  };

const EVENT_ROWS: Readonly<Record<ServerEvent["event"], string>> = {
  connect: "`client`, `clients` (how many there are now)",
  authenticated: "`client`",
  protocol_error: "`client`, `code`, `message`: what the client was told",
  handler_error: "`client`, `type`, `message`: a handler of one's own has failed",
  disconnect:
    "`client`, `reason` (a code that closes, `peer`, `cut` within a message, or `lost` with `errno`), `duration_ms`, `messages`, `bytes_in`, `bytes_out`",
  tls_error: "`client`, `message`: a handshake has failed",
  dropped: "`client`: closed without a word, there were too many",
  accept_error:
    "`errno`: a connection could not be accepted; never on Linux, where libuv tells nobody, and closes what finds no descriptor",
  shutdown: "`clients`",
};

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function metrics(): string {
  const text = metricsText(createJsonServer());
  const kinds = new Map(
    [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, n, kind]) => [n, kind]),
  );
  return table(
    ["metric", "kind", "what"],
    [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name = "", help = ""]) => [
      `\`${name}\``,
      kinds.get(name) ?? "",
      help,
    ]),
  );
}

const TABLES: Readonly<Record<string, () => string>> = {
  errors: () =>
    table(
      ["code", "closes", "when"],
      Object.entries(PROTOCOL_ERRORS).map(([code, { closes, about }]) => [
        `\`${code}\``,
        closes ? "yes" : "no",
        about,
      ]),
    ),
  clientErrors: () =>
    table(
      ["code", "when", "the connection", "what next"],
      Object.entries(CLIENT_ERRORS).map(([code, about]) => [
        `\`${code}\``,
        about,
        ...CLIENT_ERROR_ROWS[code as ClientErrorCode],
      ]),
    ),
  limits: () =>
    table(
      ["limit", "default", "flag", "what"],
      Object.entries(LIMIT_ROWS).map(([limit, [about, flag]]) => [
        `\`${limit}\``,
        LIMITS[limit as keyof Limits].toLocaleString("en"),
        flag === undefined ? "" : `\`${flag}\``,
        about,
      ]),
    ),
  events: () =>
    table(
      ["event", "fields"],
      Object.entries(EVENT_ROWS).map(([event, fields]) => [`\`${event}\``, fields]),
    ),
  metrics,
};

/** The page with each table put between its markers, `<!-- errors -->` and `<!-- /errors -->`. */
export function withProtocolTables(page: string): string {
  return page.replaceAll(
    /(<!-- (\w+) -->\n)[^]*?(\n<!-- \/\2 -->)/g,
    (_, open: string, name: string, close: string) =>
      `${open}\n${TABLES[name]?.() ?? ""}\n${close}`,
  );
}
