/** client-errors: why a request has no answer. */
import type { ErrorMessage } from "./messages.ts";

/** Code to its meaning. They are stable: programs may rely on them. */
export const CLIENT_ERRORS = {
  CONNECT_TIMEOUT: "no connection in time",
  REQUEST_TIMEOUT: "no answer in time",
  CONNECTION_CLOSED: "the connection has ended; nobody knows whether the request was carried out",
  PEER_SILENT: "the server gives no sign of life",
  SENT_BACK: "the request came back as it was: whoever listens there sends back what it gets",
  IN_FLIGHT_LIMIT: "too many requests wait for their answers",
  CIRCUIT_OPEN: "too many failures in a row: not even tried",
  POOL_QUEUE_FULL: "too many wait for a connection of the pool",
  POOL_TIMEOUT: "no connection of the pool became free in time",
  CLIENT_CLOSED: "this client has been closed",
} as const;

export type ClientErrorCode = keyof typeof CLIENT_ERRORS;

/** A request has not been answered, or a connection not been made. */
export class ClientError extends Error {
  override name = "ClientError";
  readonly code: ClientErrorCode;

  constructor(code: ClientErrorCode, detail?: string, options?: ErrorOptions) {
    super(
      detail === undefined ? CLIENT_ERRORS[code] : `${CLIENT_ERRORS[code]}: ${detail}`,
      options,
    );
    this.code = code;
  }
}

/** The server has answered with an error. `code` is one of PROTOCOL_ERRORS, or what another server calls it. */
export class RemoteError extends Error {
  override name = "RemoteError";
  readonly code: string;
  /** Does the server close the connection? */
  readonly closes: boolean;

  /** What came over the wire: each field may be anything, or missing. */
  constructor({ code, message, closes }: { readonly [Field in keyof ErrorMessage]?: unknown }) {
    super(typeof message === "string" ? message : "the server has answered with an error");
    this.code = typeof code === "string" ? code : "REMOTE_ERROR";
    this.closes = closes === true;
  }
}
