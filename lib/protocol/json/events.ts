/** events: what a server tells its owner, for a log. */
import type { ProtocolErrorCode } from "./errors.ts";
import type { CloseReason } from "./tally.ts";

/** `client` is the peer's address and port. Nothing in here is a secret: tokens and contents are never told. */
export type ServerEvent =
  | { readonly event: "connect"; readonly client: string; readonly clients: number }
  | {
      readonly event: "disconnect";
      readonly client: string;
      readonly reason: CloseReason;
      /** The errno of a connection that was lost. */
      readonly errno?: string;
      readonly duration_ms: number;
      readonly messages: number;
      readonly bytes_in: number;
      readonly bytes_out: number;
    }
  | { readonly event: "authenticated"; readonly client: string }
  | {
      /** The peer has done something wrong, and was told so. */
      readonly event: "protocol_error";
      readonly client: string;
      readonly code: ProtocolErrorCode;
      readonly message: string;
    }
  | {
      /** A handler has failed: a defect of this server's. */
      readonly event: "handler_error";
      readonly client: string;
      readonly type: string;
      readonly message: string;
    }
  | { readonly event: "tls_error"; readonly client: string; readonly message: string }
  /** accept(2) has failed. Never on Linux: libuv tells nobody (uv__server_io() in its src/unix/stream.c). */
  | { readonly event: "accept_error"; readonly errno: string }
  /** Too many to refuse each politely. */
  | { readonly event: "dropped"; readonly client: string }
  | { readonly event: "shutdown"; readonly clients: number };
