/** chat-report: what is shown in the interactive client. */
import type { ChalkInstance } from "chalk";
import type { ChatEvent } from "../programs/interactive.ts";
import type { Message } from "../protocol/json/messages.ts";
import { ms, safe, wrapped } from "./format.ts";

/** One event as text. What comes from others cannot move the cursor, change colours or forge a line. */
export function chatText(event: ChatEvent, paint: ChalkInstance): string {
  switch (event.event) {
    case "answer":
      return `${answerText(event.answer)}${paint.dim(`  (${ms(event.durationMs)})`)}`;
    case "failure":
      return paint.red(`${safe(event.request.type)}: ${withCode(event.error)}`);
    case "complaint":
      return paint.yellow(safe(event.about));
    case "help":
      return helpLines(event.commands);
    case "broadcast":
      return `${paint.cyan(`[${shown(event.message.from)}]`)} ${shown(event.message.content)}`;
    case "message":
      return `unasked: ${shown(event.message)}`;
    case "disconnect":
      return paint.yellow(`connection lost: ${withCode(event.error)}`);
    case "reconnecting":
      return paint.dim(`attempt ${event.attempt} in ${ms(event.delayMs)}`);
    case "connect":
      return paint.green("connected again");
  }
}

/** What stands at the top. */
export function chatOpening(address: string): string {
  return `connected to ${address}. /help for help; anything else is sent as text`;
}

function withCode(error: Error & { code?: string }): string {
  const { code, message } = error;
  const isSaid = code === undefined || message.includes(code);
  return safe(isSaid ? message : `${message} (${code})`);
}

/** A message, or a field of one; servers of other make may send anything, or nothing. */
function shown(value: unknown): string {
  return safe(typeof value === "string" ? value : spelled(value ?? null));
}

/** As JSON. JSON.parse() reads what is nested deeper than JSON.stringify() can go down: RangeError. */
function spelled(value: unknown, replacer?: (key: string, value: unknown) => unknown): string {
  try {
    return JSON.stringify(value, replacer);
  } catch {
    return '"(nested too deeply to be shown)"';
  }
}

function answerText(answer: Message): string {
  const field = (name: string): string => shown(answer[name]);
  switch (answer.type) {
    case "pong":
      return `pong: you are ${field("client_id")}, the server's time is ${field("pong_timestamp")}`;
    case "echo_response":
      return `echo by ${field("echoed_by")}: ${field("content")}`;
    case "broadcast_sent":
      return `sent to ${field("recipients")} other(s)`;
    case "text_received":
      return `received, ${field("length")} character(s)`;
    case "server_stats":
      return [
        `clients ${field("connected_clients")}`,
        `messages ${field("total_messages")}`,
        `up ${field("uptime_seconds")} s, since ${field("server_start_time")}`,
      ].join("  ");
    default:
      return shown({ ...answer, id: undefined });
  }
}

function helpLines(commands: Extract<ChatEvent, { event: "help" }>["commands"]): string {
  const rows = Object.entries(commands).map(
    ([word, { args, about }]) => [`${word} ${args}`.trimEnd(), about] as const,
  );
  const all = [...rows, ["anything else", "is sent as text; //x sends /x"] as const];
  const width = Math.max(...all.map(([left]) => left.length));
  return all.map(([left, right]) => wrapped(right, `  ${left.padEnd(width)}  `)).join("\n");
}

/** The same as one line of JSON. */
export function chatJson(event: ChatEvent): string {
  const plain = (_: string, value: unknown): unknown =>
    value instanceof Error
      ? { code: (value as Error & { code?: string }).code, message: value.message }
      : value;
  const fields = Object.entries({ version: 1, ...event }).map(
    ([name, value]) => `${JSON.stringify(name)}:${spelled(value, plain)}`,
  );
  return `{${fields.join(",")}}`;
}
