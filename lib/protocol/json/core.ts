/** core: what all connections of a server share. */
import { setImmediate as turn } from "node:timers/promises";
import type { TokenCheck } from "./auth.ts";
import type { Connection } from "./connection.ts";
import type { ServerEvent } from "./events.ts";
import type { Answer, Caller, Row } from "./handlers.ts";
import type { Limits } from "./limits.ts";
import type { Packing } from "./messages.ts";
import type { Rate } from "./rate.ts";
import type { Tally } from "./tally.ts";

export type Core = {
  readonly limits: Limits;
  readonly rate: Rate | undefined;
  readonly plain: Packing;
  /** Undefined when this server does not compress. */
  readonly deflating: Packing | undefined;
  rows: ReadonlyMap<string, Row>;
  readonly tally: Tally;
  /** Undefined when no token is asked for. */
  readonly isToken: TokenCheck | undefined;
  readonly onEvent: ((event: ServerEvent) => void) | undefined;
  readonly startedMs: number;
  /** All that have a socket: clients, and those that have been told to leave. */
  readonly connections: Set<Connection>;
  /** Clients with broadcasts that have not been handed to the kernel yet. */
  readonly awaiting: Connection[];
  /** How many of the connections are clients. */
  clients: number;
  isClosing: boolean;
  /** Whoever comes out of a TLS handshake now is too late for a word. */
  isClosed: boolean;
  /** Called when the last connection is gone. */
  onEmpty: () => void;
  /** Sends to all but the caller; returns to how many. */
  readonly broadcast: (message: Answer, caller?: Caller) => number;
};

/** Hands over what broadcasts have left behind. */
export function flushAwaiting({ awaiting }: Core): void {
  for (let next = awaiting.pop(); next !== undefined; next = awaiting.pop()) next.flush();
}

/** Whole milliseconds of a clock that never goes back: small integers take no memory of their own. */
export function nowMs(): number {
  return Math.trunc(performance.now());
}

/** The time as ISO 8601; the text is made once per millisecond. */
export function timestamps(): () => string {
  let lastMs = NaN;
  let text = "";
  return () => {
    const now = Date.now();
    if (now !== lastMs) text = new Date(now).toISOString();
    lastMs = now;
    return text;
  };
}

/** After it has been seen what the loop of events knew of already, and what it learns of when it looks next. */
export async function twoTurns(): Promise<void> {
  await turn();
  await turn();
}

/** A connection is gone. */
export function forget(core: Core, connection: Connection): void {
  core.connections.delete(connection);
  if (core.connections.size === 0) core.onEmpty();
}
