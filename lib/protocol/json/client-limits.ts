/** client-limits: everything that is bounded on the client's side of a connection. */

/** Limits of a connection. */
export type ConnectionLimits = {
  /** For an answer to come. */
  readonly requestTimeoutMs: number;
  /** Requests without an answer at a time. */
  readonly maxInFlight: number;
  /** No byte from the server for so long: a ping is sent; 0 for never. */
  readonly heartbeatMs: number;
  /** No byte for so long after it: the connection is given up. */
  readonly heartbeatTimeoutMs: number;
};

/** What holds where nothing else was asked for. */
export const CONNECTION_LIMITS: ConnectionLimits = {
  requestTimeoutMs: 5_000,
  maxInFlight: 10_000,
  heartbeatMs: 30_000,
  heartbeatTimeoutMs: 10_000,
};
