/** errors: everything that can be wrong with what a peer sends, each with a stable code, and whether the connection survives it. */

/**
 * Code to what it means and whether the connection is closed after it has been sent.
 *
 * The rule: as long as the end of the bad message is known, the next one can be read and the connection goes on. It is closed
 * when the stream can no longer be trusted, or when the peer was told to leave.
 */
export const PROTOCOL_ERRORS = {
  FRAME_EMPTY: { closes: false, about: "a frame of length 0: a message has at least two bytes" },
  FRAME_TOO_LARGE: { closes: true, about: "the length is above the limit; nothing was read" },
  NOT_NEGOTIATED: { closes: true, about: "a compressed frame without compression agreed upon" },
  BAD_COMPRESSION: { closes: true, about: "the payload is not what zlib makes" },
  INFLATED_TOO_LARGE: { closes: true, about: "inflated, the payload is above the limit" },
  BAD_UTF8: { closes: false, about: "the payload is not UTF-8" },
  BAD_JSON: { closes: false, about: "the payload is not JSON" },
  NOT_AN_OBJECT: { closes: false, about: "the payload is JSON, but not an object" },
  TYPE_MISSING: { closes: false, about: "the object has no field 'type' that is a string" },
  UNKNOWN_TYPE: { closes: false, about: "nobody here knows what to do with this type" },
  BAD_FIELD: { closes: false, about: "a field is missing or of the wrong type" },
  TOO_MANY_ERRORS: { closes: true, about: "one bad message after the other" },
  UNAUTHENTICATED: { closes: true, about: "something else than auth before auth" },
  AUTHENTICATION_FAILED: { closes: true, about: "the token is wrong" },
  AUTHENTICATION_TIMEOUT: { closes: true, about: "no auth in time" },
  RATE_LIMITED: {
    closes: false,
    about: "more messages per second than allowed; this one was dropped",
  },
  TOO_MANY_CONNECTIONS: { closes: true, about: "the server is full; come back later" },
  IDLE_TIMEOUT: { closes: true, about: "no request for too long" },
  HEARTBEAT_TIMEOUT: { closes: true, about: "no sign of life for too long" },
  SLOW_CONSUMER: { closes: true, about: "the peer does not read what it is sent" },
  SHUTTING_DOWN: { closes: true, about: "the server is about to end" },
  INTERNAL: { closes: false, about: "the handler of this message failed" },
} as const;

/** One of the codes. They are part of the protocol: clients may rely on them. */
export type ProtocolErrorCode = keyof typeof PROTOCOL_ERRORS;

/** Something is wrong with what a peer sent. `message` says what was expected and what came. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
  readonly code: ProtocolErrorCode;
  /** The id of the message in question, where it could be read. */
  readonly id: string | number | undefined;

  constructor(code: ProtocolErrorCode, detail?: string, id?: string | number) {
    super(detail ?? PROTOCOL_ERRORS[code].about);
    this.code = code;
    this.id = id;
  }

  /** Is the connection closed after this? */
  get closes(): boolean {
    return PROTOCOL_ERRORS[this.code].closes;
  }
}
