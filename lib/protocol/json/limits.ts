/** limits: everything that is bounded on a server, each with its default. 0 switches a limit off where it says so. */
import { MAX_FRAME_BYTES } from "./frames.ts";
import { usualUnless } from "./usual.ts";

/** Limit to value. Times are in milliseconds and are looked at by one sweep: they are kept to about a quarter of the shortest. */
export type Limits = {
  /** The longest payload, inflated or not, that is read or sent. */
  readonly maxFrameBytes: number;
  /** Clients at a time; one more gets TOO_MANY_CONNECTIONS. */
  readonly maxConnections: number;
  /** Bad messages in a row; the next one gets TOO_MANY_ERRORS. */
  readonly maxErrorsInARow: number;
  /** Messages per second and connection, good or bad; 0 for no limit. */
  readonly ratePerSecond: number;
  /** Messages that may come at once before the rate counts; 0 for as many as one second allows. */
  readonly rateBurst: number;
  /** Bytes that wait for one client, in this process; a broadcast that would exceed it gets the client SLOW_CONSUMER instead. */
  readonly maxQueuedBytes: number;
  /** A client that takes nothing of what waits for it for so long gets SLOW_CONSUMER. */
  readonly stallTimeoutMs: number;
  /** No request for so long: IDLE_TIMEOUT. Pings and other signs of life do not count; 0 for never. */
  readonly idleTimeoutMs: number;
  /** No byte for so long: the server sends a ping; 0 for never. */
  readonly heartbeatMs: number;
  /** No byte for so long after the ping: HEARTBEAT_TIMEOUT. */
  readonly heartbeatTimeoutMs: number;
  /** No auth for so long: AUTHENTICATION_TIMEOUT. */
  readonly authTimeoutMs: number;
  /** No TLS handshake for so long: closed without a word. */
  readonly handshakeTimeoutMs: number;
  /** After our FIN: for so long we go on reading, so that no reset destroys our last words on their way. */
  readonly lingerMs: number;
};

/** The limits unless told otherwise. */
export const LIMITS: Limits = {
  maxFrameBytes: MAX_FRAME_BYTES,
  maxConnections: 16_384,
  maxErrorsInARow: 100,
  ratePerSecond: 0,
  rateBurst: 0,
  maxQueuedBytes: 4 * MAX_FRAME_BYTES,
  stallTimeoutMs: 30_000,
  idleTimeoutMs: 0,
  heartbeatMs: 30_000,
  heartbeatTimeoutMs: 15_000,
  authTimeoutMs: 5_000,
  handshakeTimeoutMs: 5_000,
  lingerMs: 2_000,
};

/** The limits with those that are given in place of the usual ones. */
export function limitsOf(given: Partial<Limits>): Limits {
  const limits = usualUnless(LIMITS, given);
  // A frame that may be sent at all has to fit into the queue of a client that is up to date, with room for some more.
  const maxQueuedBytes = Math.max(LIMITS.maxQueuedBytes, 4 * limits.maxFrameBytes);
  return { ...limits, maxQueuedBytes: given.maxQueuedBytes ?? maxQueuedBytes };
}

/** Time between two looks at every connection: a quarter of the shortest time that is kept, between 10 ms and 1 s. */
export function sweepIntervalMs(limits: Limits): number {
  const times = [
    limits.stallTimeoutMs,
    limits.idleTimeoutMs,
    limits.heartbeatMs,
    limits.heartbeatTimeoutMs,
    limits.authTimeoutMs,
    limits.lingerMs,
  ].filter((ms) => ms > 0);
  return Math.max(10, Math.min(1_000, Math.floor(Math.min(...times) / 4)));
}
