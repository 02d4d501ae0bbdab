/** outgoing: what is asked, before it has its id. */
import type { Request, ResponseTo } from "./messages.ts";

/** A request before it has its id. */
export type Outgoing<T extends keyof ResponseTo> = Omit<Extract<Request, { type: T }>, "id">;
/** A request of a type that only this server knows. */
export type Custom = { readonly type: string; readonly [field: string]: unknown };

/** A request whose JSON is made once. */
export type Prepared = { readonly type: string; readonly text: string };

/** Makes a request ready to be sent many times; `message` must not have an id. */
export function prepare(message: Custom): Prepared {
  return { type: message.type, text: JSON.stringify(message) };
}
