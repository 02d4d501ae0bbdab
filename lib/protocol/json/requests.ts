/** requests: from a message to the text of its answer. Whatever goes wrong becomes a ProtocolError. */
import { inspect } from "node:util";
import type { Core } from "./core.ts";
import { ProtocolError } from "./errors.ts";
import { textOf, type Answer, type Caller } from "./handlers.ts";
import {
  checkRequest,
  verbatimContent,
  type Hello,
  type Message,
  type Packing,
} from "./messages.ts";

/** What hello and auth change. */
export type Session = Caller & { packing: Packing; isAuthenticated: boolean };

/** The text of the answer, now or later; none for a message that wants none. Throws, or rejects with, ProtocolError only. */
export function respond(
  core: Core,
  session: Session,
  message: Message,
): string | undefined | Promise<string | undefined> {
  const { type, id } = message;
  if (type === "pong" && session.isAuthenticated) return undefined;
  if (type === "hello") return greet(core, session, message);
  if (type === "auth") return authenticate(core, session, message);
  if (!session.isAuthenticated) throw new ProtocolError("UNAUTHENTICATED", undefined, id);
  const row = core.rows.get(type);
  if (row === undefined)
    throw new ProtocolError(
      "UNKNOWN_TYPE",
      `unknown type ${JSON.stringify(type.slice(0, 40))}`,
      id,
    );
  checkRequest(message);
  row.count += 1;
  try {
    const answer = row.handle(message, session);
    return answer instanceof Promise
      ? later(core, session, message, answer)
      : answered(core, answer, message);
  } catch (error) {
    throw asProtocolError(core, session, message, error);
  }
}

async function later(
  core: Core,
  session: Session,
  message: Message,
  answer: Promise<Answer | undefined>,
): Promise<string | undefined> {
  const startMs = performance.now();
  try {
    return answered(core, await answer, message);
  } catch (error) {
    throw asProtocolError(core, session, message, error);
  } finally {
    core.tally.times.add(performance.now() - startMs);
  }
}

function answered(core: Core, answer: Answer | undefined, message: Message): string | undefined {
  if (answer === undefined) return undefined;
  if (typeof answer.type !== "string")
    throw new TypeError(`the handler of '${message.type}' has returned no message`);
  const details = { id: message.id, verbatim: verbatimContent(message) };
  return textOf(answer, core.limits.maxFrameBytes, details);
}

function greet(core: Core, session: Session, message: Message): string | undefined {
  checkRequest(message);
  const { deflating, plain } = core;
  const offered = (message as Hello).compression ?? [];
  session.packing = (offered.includes("deflate") ? deflating : undefined) ?? plain;
  const compression = session.packing.deflate ? "deflate" : null;
  const answer = { type: "hello_response", compression, max_frame_bytes: plain.maxFrameBytes };
  return answered(core, answer, message);
}

function authenticate(core: Core, session: Session, message: Message): string | undefined {
  checkRequest(message);
  const { isToken, onEvent } = core;
  const isRight = isToken === undefined || isToken(message["token"] as string);
  if (!isRight) throw new ProtocolError("AUTHENTICATION_FAILED", undefined, message.id);
  if (isToken !== undefined) onEvent?.({ event: "authenticated", client: session.clientId });
  session.isAuthenticated = true;
  return answered(core, { type: "auth_response", status: "authenticated" } as Answer, message);
}

/** What a handler has thrown, as the peer is told: a defect of ours is logged, and kept to ourselves. */
function asProtocolError(
  core: Core,
  { clientId }: Caller,
  { type, id }: Message,
  error: unknown,
): ProtocolError {
  if (error instanceof ProtocolError)
    return new ProtocolError(error.code, error.message, error.id ?? id);
  const message = error instanceof Error ? (error.stack ?? error.message) : inspect(error);
  core.onEvent?.({ event: "handler_error", client: clientId, type, message });
  return new ProtocolError("INTERNAL", undefined, id);
}
