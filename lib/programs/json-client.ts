/** json-client: how a program of ours comes to a connection: keys and token from files, and a first failure that is told at once. */
import { NeedsError } from "../kernel/errors.ts";
import { JsonClient } from "../protocol/json/client.ts";
import { RemoteError } from "../protocol/json/client-errors.ts";
import type { ConnectOptions } from "../protocol/json/connect.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { safe } from "../sockets/safe.ts";
import { contentOf } from "./given-file.ts";

/** What a user can say about the server; files are in PEM. */
export type Server = {
  /** An address or a name. */
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** Authorities to trust instead of the usual ones. */
  readonly tlsCa?: string | undefined;
  /** Our own certificate and its key, where the server asks for them. */
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  /** The name that the server's certificate has to be for. */
  readonly tlsName?: string | undefined;
  readonly authToken?: string | undefined;
  /** The same from a file; blanks around it do not count. */
  readonly authTokenFile?: string | undefined;
  readonly compression: boolean;
};

/** The library's options; rejects a file that cannot be read with its errno. */
export function connectOptions(server: Server): ConnectOptions {
  const { host, port, compression, authTokenFile } = server;
  const token =
    authTokenFile === undefined ? server.authToken : contentOf(authTokenFile).toString().trim();
  return {
    host,
    port,
    compression,
    ...(server.tls ? { tls: tlsOptions(server) } : {}),
    ...(token === undefined || token === "" ? {} : { token }),
  };
}

function tlsOptions(server: Server): NonNullable<ConnectOptions["tls"]> {
  const { tlsCa, tlsCert, tlsKey, tlsName } = server;
  return {
    ...(tlsCa === undefined ? {} : { ca: contentOf(tlsCa) }),
    ...(tlsCert === undefined ? {} : { cert: contentOf(tlsCert) }),
    ...(tlsKey === undefined ? {} : { key: contentOf(tlsKey) }),
    ...(tlsName === undefined ? {} : { servername: tlsName }),
  };
}

/**
 * A client that is connected, and will come back by itself later. The first connection is tried once: rejects with the errno of
 * connect(2), or with TFL_NEEDS and what the server or TLS has said.
 */
export async function connectedClient(options: ConnectOptions): Promise<JsonClient> {
  const client = new JsonClient(options);
  const failed = new Promise<never>((_, reject) => {
    client.once("reconnecting", ({ error }) => reject(error));
  });
  try {
    await Promise.race([client.connect(), failed]);
  } catch (error) {
    void client.close();
    throw told(error as NodeJS.ErrnoException, options);
  }
  client.removeAllListeners("reconnecting");
  return client;
}

/** What the server, or TLS, says against us is no defect of ours. It has a code; an error without one comes back as it is. */
export function told(
  error: NodeJS.ErrnoException,
  { host = "127.0.0.1", port, tls }: ConnectOptions,
): Error {
  const { code, message } = error;
  // Words of the server's own: whatever it calls its errors, they are none of the kernel's.
  const isRemote = error instanceof RemoteError;
  if (code === "ECONNREFUSED" && !isRemote)
    error.message += `\n  Nobody listens there. ${START_A_SERVER}`;
  if (code === undefined || error instanceof NeedsError) return error;
  if (!isRemote && /^(E[A-Z0-9]+$|EAI_)/.test(code)) return error;
  // OpenSSL tells its own source files, too; Node has the reason by itself.
  const { reason = message } = error as { readonly reason?: string };
  const whatNext = WHAT_NEXT[code] ?? "";
  const isPlain = tls === undefined || code !== "CONNECTION_CLOSED";
  return new NeedsError(
    `${endpointText({ address: host, port })}: ${safe(`${reason} (${code})`)}${isPlain ? whatNext : ""}`,
    {
      cause: error,
    },
  );
}

const START_A_SERVER =
  'Start a server: make server ARGS="--protocol json" (installed by npm: tcp-server --protocol json)';

const WHAT_NEXT: Readonly<Record<string, string>> = {
  UNAUTHENTICATED: "\n  It wants a token: --auth-token-file FILE, or AUTH_TOKEN.",
  ERR_SSL_WRONG_VERSION_NUMBER: "\n  What answers there does not speak TLS: try it without.",
  SENT_BACK: `\n  A plain echo server, then, which knows no messages. ${START_A_SERVER}`,
  CONNECTION_CLOSED:
    "\n  It closes at our first message: does it want TLS (--tls), or another protocol?",
};
