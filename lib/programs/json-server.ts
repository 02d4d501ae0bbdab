/** json-server: the JSON server as a program has it: keys and tokens from files, metrics over HTTP. Prints nothing. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { NeedsError } from "../kernel/errors.ts";
import { descriptorLimit, openDescriptors } from "../kernel/process.ts";
import { METRICS_TYPE, metricsText } from "../protocol/json/metrics.ts";
import {
  createJsonServer,
  type Closing,
  type JsonServer,
  type JsonServerOptions,
} from "../protocol/json/server.ts";
import { contentOf } from "./given-file.ts";
import { keepYoungGenerationSmall } from "./heap.ts";
import { listenTrouble } from "./listen-trouble.ts";

/** Where and how to serve; files are in PEM. */
export type ServeJsonOptions = Omit<JsonServerOptions, "tls" | "authToken"> & {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly backlog: number;
  readonly tlsKey?: string | undefined;
  readonly tlsCert?: string | undefined;
  /** Authorities that sign the clients' certificates: mutual TLS. */
  readonly tlsCa?: string | undefined;
  /** Empty counts as none, as with every environment variable. */
  readonly authToken?: string | undefined;
  /** The same from a file; blanks around it do not count. */
  readonly authTokenFile?: string | undefined;
  /** Serve metrics on this port of 127.0.0.1; 0 for any free one. */
  readonly metricsPort?: number | undefined;
};

/** A server that listens. */
export type ServingJson = {
  readonly server: JsonServer;
  readonly address: AddressInfo;
  readonly metricsPort: number | undefined;
  /** Further connections for which there are descriptors. */
  readonly room: number;
  /** Answers what has arrived, says good-bye, and is gone after `drainMs` at the latest. */
  readonly stop: (drainMs: number) => Promise<Closing>;
};

/**
 * Listens. Rejects with the errno of bind(2), listen(2) or open(2), and with TFL_NEEDS for a key, certificate or token that cannot be used.
 */
export async function serveJson(options: ServeJsonOptions): Promise<ServingJson> {
  keepYoungGenerationSmall();
  const { host, port, backlog, tlsKey, tlsCert, tlsCa, authTokenFile, metricsPort, ...rest } =
    options;
  const given = rest.authToken === "" ? undefined : rest.authToken;
  const authToken = authTokenFile === undefined ? given : tokenFrom(authTokenFile);
  const server = made({
    ...rest,
    authToken,
    ...(tlsKey === undefined || tlsCert === undefined
      ? {}
      : {
          tls: {
            key: contentOf(tlsKey),
            cert: contentOf(tlsCert),
            ...(tlsCa === undefined ? {} : { ca: contentOf(tlsCa) }),
          },
        }),
  } as JsonServerOptions);
  const address = await server.listen({ host, port, backlog }).catch((error: unknown) => {
    throw listenTrouble(error as NodeJS.ErrnoException, port);
  });
  const metrics = metricsPort === undefined ? undefined : await serveMetrics(server, metricsPort);
  return {
    server,
    address,
    metricsPort: metrics === undefined ? undefined : (metrics.address() as AddressInfo).port,
    room: descriptorLimit().soft - openDescriptors(),
    stop: async (drainMs) => {
      const closing = await server.close({ drainMs });
      metrics?.close();
      metrics?.closeAllConnections();
      return closing;
    },
  };
}

function tokenFrom(file: string): string {
  const token = contentOf(file).toString().trim();
  if (token !== "") return token;
  throw new NeedsError(`${file}: expected a token, found nothing`);
}

/** What OpenSSL says of a bad key is no defect of ours. */
function made(options: JsonServerOptions): JsonServer {
  try {
    return createJsonServer(options);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (options.tls === undefined || !/^ERR_(OSSL|SSL|TLS|CRYPTO)/.test(code ?? "")) throw error;
    throw new NeedsError(
      `TLS: the key, the certificate or the authorities cannot be used: ${message} (${code})`,
    );
  }
}

/** GET /metrics, and nothing else. */
function serveMetrics(server: JsonServer, port: number): Promise<Server> {
  const http = createServer((request, response) => {
    const isRight = request.method === "GET" && request.url === "/metrics";
    if (isRight) response.setHeader("content-type", METRICS_TYPE).end(metricsText(server));
    else response.writeHead(404).end("GET /metrics\n");
  });
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(listenTrouble(error, port, "--metrics-port N"));
    http.once("error", fail).listen(port, "127.0.0.1", () => resolve(http));
  });
}
