/** connect: from an address to a connection that may be used: TCP or TLS, then what both sides have to agree upon. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions as TlsOptions } from "node:tls";
import { deadline } from "../deadline.ts";
import { ClientConnection } from "./client-connection.ts";
import { ClientError } from "./client-errors.ts";
import type { ConnectionLimits } from "./client-limits.ts";
import { PLAIN } from "./messages.ts";

/** Where to, and how. */
export type ConnectOptions = Partial<ConnectionLimits> & {
  readonly port: number;
  /** 127.0.0.1 unless told otherwise. */
  readonly host?: string;
  /** For the handshakes of TCP and TLS, and for hello and auth. */
  readonly connectTimeoutMs?: number;
  readonly maxFrameBytes?: number;
  /** TLS, with the authorities to trust, and a certificate of our own where the server asks for one. */
  readonly tls?: Pick<TlsOptions, "ca" | "cert" | "key" | "servername" | "rejectUnauthorized">;
  readonly token?: string;
  /** Ask for compression. */
  readonly compression?: boolean;
};

/**
 * Connects; rejects with the errno of connect(2), what TLS says, CONNECT_TIMEOUT, or the server's refusal. Who has a token is told
 * of broadcasts from then on, which may be before the promise is settled: `listen` is called before anything can come.
 */
export async function openConnection(
  options: ConnectOptions,
  listen?: (connection: ClientConnection) => void,
): Promise<ClientConnection> {
  const { connectTimeoutMs = 5_000, maxFrameBytes = PLAIN.maxFrameBytes, token } = options;
  const startMs = performance.now();
  const plain = { ...PLAIN, maxFrameBytes };
  const socket = await connected(options, connectTimeoutMs);
  const connection = new ClientConnection(socket, plain, options);
  const leftMs = (): number => Math.max(1, connectTimeoutMs - (performance.now() - startMs));
  try {
    listen?.(connection);
    if (token !== undefined) await connection.request({ type: "auth", token }, leftMs());
    if (options.compression === true) {
      await connection.request({ type: "hello", compression: ["deflate"] }, leftMs());
    }
    return connection;
  } catch (error) {
    connection.destroy();
    const { code } = error as { readonly code?: string };
    if (code !== "REQUEST_TIMEOUT") throw error;
    throw new ClientError(
      "CONNECT_TIMEOUT",
      `${options.host ?? "127.0.0.1"}:${options.port}, ${connectTimeoutMs} ms`,
    );
  }
}

function connected(
  { host = "127.0.0.1", port, tls }: ConnectOptions,
  timeoutMs: number,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    // A request goes out at once; what belongs together is one write anyway.
    const socket =
      tls === undefined
        ? connectTcp({ host, port, noDelay: true })
        : connectTls({ host, port, ...tls }).setNoDelay();
    const stopWaiting = deadline(timeoutMs, () =>
      socket.destroy(new ClientError("CONNECT_TIMEOUT", `${host}:${port}, ${timeoutMs} ms`)),
    );
    const fail = (error: Error): void => {
      stopWaiting();
      reject(error);
    };
    socket.once("error", fail).once(tls === undefined ? "connect" : "secureConnect", () => {
      stopWaiting();
      socket.off("error", fail);
      resolve(socket);
    });
  });
}
