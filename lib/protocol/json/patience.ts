/** patience: what silence leads to, and not reading. Bytes are a sign of life; only requests keep an idle client. */
import type { Socket } from "node:net";
import type { Limits } from "./limits.ts";
import { unwrittenBytes } from "./outbox.ts";

/** Since when a connection has been silent, in which way; milliseconds of one clock. */
export type Silence = {
  openedMs: number;
  /** The last byte. */
  heardMs: number;
  /** The last request. */
  requestMs: number;
  /** The ping that has not been answered; 0 when there is none. */
  pingedMs: number;
  /** When it last took something of what waits for it. */
  takenMs: number;
  /** What was left of it at the last look. */
  unwrittenBytes: number;
};

/** That of a connection that has just been opened. */
export function silenceSince(now: number): Silence {
  return {
    openedMs: now,
    heardMs: now,
    requestMs: now,
    pingedMs: 0,
    takenMs: now,
    unwrittenBytes: 0,
  };
}

/** Has it taken nothing for too long? A little is enough: 'drain', which comes when all has gone, does not tell little from nothing. */
export function isStalled(
  { stallTimeoutMs }: Limits,
  now: number,
  silence: Silence,
  socket: Socket,
): boolean {
  const bytes = unwrittenBytes(socket);
  if (bytes !== silence.unwrittenBytes) silence.takenMs = now;
  silence.unwrittenBytes = bytes;
  return now - silence.takenMs >= stallTimeoutMs;
}

/** What has to be done about it now: a ping to send, a reason to part, or nothing. */
export function overdue(
  limits: Limits,
  now: number,
  silence: Readonly<Silence>,
  isAuthenticated: boolean,
): "ping" | "AUTHENTICATION_TIMEOUT" | "IDLE_TIMEOUT" | "HEARTBEAT_TIMEOUT" | undefined {
  const { idleTimeoutMs, heartbeatMs, heartbeatTimeoutMs, authTimeoutMs } = limits;
  const { openedMs, heardMs, requestMs, pingedMs } = silence;
  if (!isAuthenticated)
    return now - openedMs >= authTimeoutMs ? "AUTHENTICATION_TIMEOUT" : undefined;
  if (idleTimeoutMs > 0 && now - requestMs >= idleTimeoutMs) return "IDLE_TIMEOUT";
  if (heartbeatMs === 0 || now - heardMs < heartbeatMs) return undefined;
  if (pingedMs === 0) return "ping";
  return now - pingedMs >= heartbeatTimeoutMs ? "HEARTBEAT_TIMEOUT" : undefined;
}
