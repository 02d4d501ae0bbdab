/** demo-promises: what docs/reference/protocol.md promises of each message that a server sends. */
import { PROTOCOL_ERRORS } from "../protocol/json/errors.ts";
import {
  ANSWERED_BY,
  type BroadcastDelivery,
  type ErrorMessage,
  type Message,
  type ResponseTo,
} from "../protocol/json/messages.ts";

type FromServer = ResponseTo[keyof ResponseTo] | BroadcastDelivery | ErrorMessage;
/** Is a field what it has to be? */
type Check = (value: unknown, message: Message) => boolean;
/** Each field of a message but those that all have. */
type Fields<M> = M extends FromServer
  ? Readonly<Record<Exclude<keyof M, "type" | "id">, Check>>
  : never;

const isText: Check = (value) => typeof value === "string";
const isCount: Check = (value) => Number.isInteger(value) && Number(value) >= 0;
const isTime: Check = (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(String(value));

const PROMISED: { readonly [T in FromServer["type"]]: Fields<FromServer & { readonly type: T }> } =
  {
    hello_response: {
      compression: (value) => value === "deflate" || value === null,
      max_frame_bytes: isCount,
    },
    auth_response: { status: (value) => value === "authenticated" },
    pong: {
      ping_timestamp: (value) => value === null || isTime(value, { type: "pong" }),
      pong_timestamp: isTime,
      client_id: isText,
    },
    echo_response: { content: isText, timestamp: isTime, echoed_by: isText },
    broadcast_sent: { recipients: isCount, timestamp: isTime },
    broadcast_message: { content: isText, from: isText, timestamp: isTime },
    server_stats: {
      connected_clients: isCount,
      uptime_seconds: isCount,
      total_messages: isCount,
      server_start_time: isTime,
      current_time: isTime,
    },
    text_received: { length: isCount, timestamp: isTime },
    error: {
      code: (value) => Object.hasOwn(PROTOCOL_ERRORS, String(value)),
      message: isText,
      closes: (value, { code }) =>
        value === PROTOCOL_ERRORS[code as keyof typeof PROTOCOL_ERRORS].closes,
    },
  };

/** What about a message is not as documented, such as "pong without client_id"; undefined when all of it is. `request` is the type that it answers. */
export function brokenPromise(message: Message, request?: string): string | undefined {
  const { type } = message;
  const expected = ANSWERED_BY[request as keyof typeof ANSWERED_BY] as string | undefined;
  if (expected !== undefined && type !== expected && type !== "error")
    return `${request} is answered by ${expected}, not by ${JSON.stringify(type)}`;
  const fields = PROMISED[type as FromServer["type"]] as
    Readonly<Record<string, Check>> | undefined;
  if (fields === undefined) return `there is no message of type ${JSON.stringify(type)}`;
  const wrong = Object.keys(fields).find(
    (field) => fields[field]?.(message[field], message) !== true,
  );
  if (wrong === undefined) return undefined;
  const value = message[wrong];
  return value === undefined
    ? `${type} without ${wrong}`
    : `${type} with ${wrong} ${JSON.stringify(value)}`;
}
