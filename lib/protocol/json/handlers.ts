/** handlers: what is done with a request of each type. A table: types of your own are further rows. */
import { ProtocolError } from "./errors.ts";
import type { Message, MessageId } from "./messages.ts";

/** Who asks. */
export type Caller = {
  /** The peer's address and port, as seen here. */
  readonly clientId: string;
};

/** An answer; the `id` of the request is added to it. */
export type Answer = { readonly type: string; readonly id?: MessageId };

/**
 * Answers a request, now or later; nothing for a message that wants no answer. Requests of one connection are handled one after
 * the other, so answers keep their order, and reading stops while a promise is pending. When it throws a ProtocolError the peer
 * is told this; anything else becomes INTERNAL.
 */
export type Handler = (
  request: Message,
  caller: Caller,
) => Answer | undefined | Promise<Answer | undefined>;

/** What the built-in handlers need of the server. */
export type Host = {
  readonly name: string;
  readonly startedMs: number;
  readonly startTime: string;
  /** Now, as ISO 8601 with milliseconds. */
  readonly timestamp: () => string;
  readonly clients: () => number;
  readonly messages: () => number;
  /** Sends to all but the caller; returns to how many. */
  readonly broadcast: (message: Answer, caller: Caller) => number;
};

/** Types that belong to the connection itself: no handler may take them over. */
const RESERVED = ["hello", "auth", "pong", "error"];

/** What is done with a type, and how often it was. */
export type Row = { readonly handle: Handler; count: number };

/** A row for each type. Throws TypeError when a handler takes a type that the protocol needs for itself. */
export function handlerTable(
  host: Host,
  own: Readonly<Record<string, Handler>>,
): ReadonlyMap<string, Row> {
  const taken = Object.keys(own).find((type) => RESERVED.includes(type));
  if (taken !== undefined)
    throw new TypeError(`handlers: the type '${taken}' belongs to the protocol`);
  const rows = Object.entries({ ...builtIn(host), ...own });
  return new Map(rows.map(([type, handle]) => [type, { handle, count: 0 }]));
}

function builtIn(host: Host): Record<string, Handler> {
  return {
    ping: ({ timestamp }, { clientId }) => ({
      type: "pong",
      ping_timestamp: timestamp ?? null,
      pong_timestamp: host.timestamp(),
      client_id: clientId,
    }),
    echo: ({ content }) => ({
      type: "echo_response",
      content,
      timestamp: host.timestamp(),
      echoed_by: host.name,
    }),
    broadcast: ({ content }, caller) => {
      const timestamp = host.timestamp();
      const delivery = { type: "broadcast_message", content, from: caller.clientId, timestamp };
      return { type: "broadcast_sent", recipients: host.broadcast(delivery, caller), timestamp };
    },
    get_stats: () => ({
      type: "server_stats",
      connected_clients: host.clients(),
      uptime_seconds: Math.floor((performance.now() - host.startedMs) / 1_000),
      total_messages: host.messages(),
      server_start_time: host.startTime,
      current_time: host.timestamp(),
    }),
    text: ({ content }) => ({
      type: "text_received",
      length: (content as string).length,
      timestamp: host.timestamp(),
    }),
  };
}

/**
 * The text of a message. Throws BAD_FIELD when nobody would be able to read it: with what the server adds it has become too long.
 *
 * `verbatim` is a content that may stand between quotes as it is (verbatimContent()): for 16 KiB that takes a hundredth of the time of
 * JSON.stringify(), which looks at every character.
 */
export function textOf(
  message: Answer,
  maxFrameBytes: number,
  { id, verbatim }: TextDetails = {},
): string {
  const plain = stringified(message, verbatim);
  const text = id === undefined ? plain : `${plain.slice(0, -1)},"id":${JSON.stringify(id)}}`;
  // A UTF-16 code unit takes up to three bytes.
  if (3 * text.length > maxFrameBytes && Buffer.byteLength(text) > maxFrameBytes)
    throw new ProtocolError(
      "BAD_FIELD",
      `expected less: a ${message.type} with this would be longer than ${maxFrameBytes} bytes`,
      id,
    );
  return text;
}

export type TextDetails = {
  readonly id?: MessageId | undefined;
  readonly verbatim?: string | undefined;
};

function stringified(message: Answer & { readonly content?: unknown }, verbatim?: string): string {
  if (verbatim === undefined || message.content !== verbatim) return JSON.stringify(message);
  const { content, ...rest } = message;
  return `${JSON.stringify(rest).slice(0, -1)},"content":"${content}"}`;
}
