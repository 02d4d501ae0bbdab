/**
 * messages: what the two sides say to each other, as JSON objects with a field `type`.
 *
 * Every request may carry an `id`; the answer carries the same. Peers that send none get their answers in the order of their
 * requests, which is all that a client without ids needs. Unknown fields are ignored, so that newer peers can talk to older ones.
 */
import { isUtf8 } from "node:buffer";
import { deflateSync, inflateSync } from "node:zlib";
import { ProtocolError, type ProtocolErrorCode } from "./errors.ts";
import { encodeFrame, MAX_FRAME_BYTES, type Frame } from "./frames.ts";

/** Ties an answer to its request. Chosen by whoever asks: a finite number, or a string of at most MAX_ID_LENGTH. */
export type MessageId = string | number;

/** The longest id, in UTF-16 code units. */
export const MAX_ID_LENGTH = 256;

type Common = { readonly id?: MessageId };
/** ISO 8601, UTC, milliseconds: `2024-01-01T12:00:00.000Z`. */
type Timestamp = string;

export type Hello = Common & { readonly type: "hello"; readonly compression?: readonly string[] };
export type Ping = Common & {
  readonly type: "ping";
  readonly timestamp?: Timestamp;
  readonly client_info?: string;
};
export type Echo = Common & {
  readonly type: "echo";
  readonly content: string;
  readonly timestamp?: Timestamp;
};
export type Broadcast = Common & {
  readonly type: "broadcast";
  readonly content: string;
  readonly timestamp?: Timestamp;
};
export type GetStats = Common & { readonly type: "get_stats"; readonly timestamp?: Timestamp };
export type Auth = Common & { readonly type: "auth"; readonly token: string };
export type Text = Common & { readonly type: "text"; readonly content: string };

export type HelloResponse = Common & {
  readonly type: "hello_response";
  /** What both sides may use from now on; null for none. */
  readonly compression: "deflate" | null;
  readonly max_frame_bytes: number;
};
export type Pong = Common & {
  readonly type: "pong";
  readonly ping_timestamp: Timestamp | null;
  readonly pong_timestamp: Timestamp;
  /** The address of whoever has sent the ping, as the one who answers sees it. */
  readonly client_id: string;
};
export type EchoResponse = Common & {
  readonly type: "echo_response";
  readonly content: string;
  readonly timestamp: Timestamp;
  readonly echoed_by: string;
};
export type BroadcastSent = Common & {
  readonly type: "broadcast_sent";
  /** Clients that it was written to, the sender not counted. */
  readonly recipients: number;
  readonly timestamp: Timestamp;
};
/** A broadcast as the others get it. */
export type BroadcastDelivery = {
  readonly type: "broadcast_message";
  readonly content: string;
  readonly from: string;
  readonly timestamp: Timestamp;
};
export type ServerStats = Common & {
  readonly type: "server_stats";
  readonly connected_clients: number;
  readonly uptime_seconds: number;
  readonly total_messages: number;
  readonly server_start_time: Timestamp;
  readonly current_time: Timestamp;
};
export type AuthResponse = Common & {
  readonly type: "auth_response";
  readonly status: "authenticated";
};
export type TextReceived = Common & {
  readonly type: "text_received";
  /** Length of the content in UTF-16 code units, as JavaScript counts. */
  readonly length: number;
  readonly timestamp: Timestamp;
};
export type ErrorMessage = Common & {
  readonly type: "error";
  readonly code: ProtocolErrorCode;
  readonly message: string;
  /** Does the sender close the connection after this? */
  readonly closes: boolean;
};

/** What a client may ask, and a server's ping. */
export type Request = Hello | Ping | Echo | Broadcast | GetStats | Auth | Text;
/** What answers each request; any of them may be answered by an error. */
export type ResponseTo = {
  hello: HelloResponse;
  ping: Pong;
  echo: EchoResponse;
  broadcast: BroadcastSent;
  get_stats: ServerStats;
  auth: AuthResponse;
  text: TextReceived;
};
/** Anything with a type: what a decoder can promise before the fields are checked. */
export type Message = {
  readonly type: string;
  readonly id?: MessageId;
  readonly [field: string]: unknown;
};

/** Type of a request to the type of its answer, for peers that send no ids. */
export const ANSWERED_BY = {
  hello: "hello_response",
  ping: "pong",
  echo: "echo_response",
  broadcast: "broadcast_sent",
  get_stats: "server_stats",
  auth: "auth_response",
  text: "text_received",
} as const satisfies { [T in keyof ResponseTo]: ResponseTo[T]["type"] };

/** May a message of `type` be the answer to such a request? An error, and one to a type that only that server knows, to any. */
export function mayAnswer(type: string, request: string): boolean {
  const answer = (ANSWERED_BY as Readonly<Record<string, string>>)[request];
  return type === "error" || answer === type || answer === undefined;
}

/** Field to what it has to be; `?` for optional. */
type Shape = Readonly<Record<string, "string" | "string?" | "strings?">>;

const REQUEST_SHAPES: Readonly<Record<keyof ResponseTo, Shape>> = {
  hello: { compression: "strings?" },
  ping: { timestamp: "string?", client_info: "string?" },
  echo: { content: "string", timestamp: "string?" },
  broadcast: { content: "string", timestamp: "string?" },
  get_stats: { timestamp: "string?" },
  auth: { token: "string" },
  text: { content: "string" },
};

/** The same as lists: this is done for every message. */
const CHECKS = new Map(
  Object.entries(REQUEST_SHAPES).map(([type, shape]) => [
    type,
    Object.entries(shape).map(([field, kind]) => ({
      field,
      kind: kind.startsWith("strings") ? ("strings" as const) : ("string" as const),
      isOptional: kind.endsWith("?"),
    })),
  ]),
);

/** Checks the fields of a known request; throws BAD_FIELD. Types that are not known pass: their handler checks them. */
export function checkRequest(message: Message): void {
  for (const { field, kind, isOptional } of CHECKS.get(message.type) ?? []) {
    const value = message[field];
    if (value === undefined && isOptional) continue;
    const isRight = kind === "string" ? typeof value === "string" : isStrings(value);
    if (!isRight) throw badField(message, field, kind);
  }
}

function isStrings(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function badField(message: Message, field: string, expected: "string" | "strings"): ProtocolError {
  const got = message[field];
  const what =
    got === undefined
      ? "nothing"
      : Array.isArray(got)
        ? "an array"
        : got === null
          ? "null"
          : typeof got;
  const kind = expected === "strings" ? "an array of strings" : `a ${expected}`;
  const detail = `${message.type}.${field}: expected ${kind}, got ${what}`;
  return new ProtocolError("BAD_FIELD", detail, message.id);
}

/** How messages are packed on one connection. */
export type Packing = {
  /** May frames be compressed, both ways? Agreed upon by hello. */
  readonly deflate: boolean;
  /** Payloads shorter than this many bytes are sent as they are: compressing them costs more than it saves. */
  readonly deflateFromBytes: number;
  readonly maxFrameBytes: number;
};

/** Nothing compressed, frames of up to 1 MiB. */
export const PLAIN: Packing = {
  deflate: false,
  deflateFromBytes: 1_024,
  maxFrameBytes: MAX_FRAME_BYTES,
};

/** A message as one frame. */
export function encodeMessage(
  message: { readonly type: string },
  packing: Packing = PLAIN,
): Buffer {
  return encodeText(JSON.stringify(message), packing);
}

/** The text of a message as one frame. */
export function encodeText(text: string, packing: Packing): Buffer {
  if (!packing.deflate || text.length < packing.deflateFromBytes) return encodeFrame(text);
  const packed = deflateSync(text);
  return packed.length < text.length ? encodeFrame(packed, true) : encodeFrame(text);
}

/**
 * The message in a frame. Throws ProtocolError; its `closes` says whether the stream is still of use.
 * Inflating stops at `maxFrameBytes`: a few bytes that would become gigabytes cost no more than a large frame.
 */
export function decodeMessage(frame: Frame, packing: Packing = PLAIN): Message {
  const payload = frame.isCompressed ? inflated(frame.payload, packing) : frame.payload;
  if (payload.length === 0) throw new ProtocolError("FRAME_EMPTY");
  const text = payload.toString("utf8");
  // What is no UTF-8 becomes U+FFFD, and only then is it worth a look.
  if (text.includes(REPLACEMENT) && !isUtf8(payload)) throw new ProtocolError("BAD_UTF8");
  const value = parsed(text);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ProtocolError("NOT_AN_OBJECT");
  checkEnvelope(value as Record<string, unknown>);
  const { content } = value as Readonly<Record<string, unknown>>;
  if (typeof content === "string" && payload.length >= LONG_BYTES && !payload.includes(BACKSLASH))
    unescaped.set(value, content);
  return value as Message;
}

const REPLACEMENT = "\uFFFD";
const LONG_BYTES = 1_024;
const BACKSLASH = 0x5c;
/** Contents of long messages without a backslash: nothing in them had to be escaped, so nothing has to be when they go out again. */
const unescaped = new WeakMap<object, string>();

/** The content with which a message came, if that was a long string that may stand between quotes in JSON as it is. */
export function verbatimContent(message: Message): string | undefined {
  return unescaped.get(message);
}

/** What every message has, whatever its type. */
function checkEnvelope({ type, id }: Readonly<Record<string, unknown>>): void {
  const hasGoodId = id === undefined || isId(id);
  if (typeof type !== "string" || type === "")
    throw new ProtocolError("TYPE_MISSING", undefined, hasGoodId ? id : undefined);
  if (!hasGoodId)
    throw new ProtocolError(
      "BAD_FIELD",
      `${type.slice(0, 40)}.id: expected a string of at most ${MAX_ID_LENGTH} characters or a finite number`,
    );
}

/** It comes back in the answer, so it must survive the way, and not make the answer too long. */
function isId(id: unknown): id is MessageId {
  return typeof id === "string" ? id.length <= MAX_ID_LENGTH : Number.isFinite(id);
}

function inflated(payload: Buffer, packing: Packing): Buffer {
  if (!packing.deflate) throw new ProtocolError("NOT_NEGOTIATED");
  try {
    return inflateSync(payload, { maxOutputLength: packing.maxFrameBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE")
      throw new ProtocolError(
        "INFLATED_TOO_LARGE",
        `expected at most ${packing.maxFrameBytes} bytes after inflating, got more`,
      );
    throw new ProtocolError("BAD_COMPRESSION", (error as Error).message);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // No more of the text than its beginning: it may be a token that was cut short, and errors are logged.
    const first = JSON.stringify(text.slice(0, 1));
    throw new ProtocolError(
      "BAD_JSON",
      `expected JSON, got ${text.length} characters of something else, the first is ${first}`,
    );
  }
}

/** The id of a message that will not be handled, where it can be read. */
export function idOf(frame: Frame, packing: Packing): MessageId | undefined {
  try {
    return decodeMessage(frame, packing).id;
  } catch (error) {
    return (error as ProtocolError).id;
  }
}

/** An error as it is told to the peer. */
export function errorMessage(error: ProtocolError): ErrorMessage {
  const { code, message, closes, id } = error;
  return { type: "error", code, message, closes, ...(id === undefined ? {} : { id }) };
}
