/** listener: what listens, with TLS or without, and turns away whoever is too many before that costs anything. */
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type SecureContextOptions } from "node:tls";
import { twoTurns, type Core } from "./core.ts";

/** Where to listen. */
export type ListenOptions = {
  readonly port: number;
  /** 127.0.0.1 unless told otherwise. */
  readonly host?: string;
  readonly backlog?: number;
};

/** Key and certificate in PEM; with `ca` clients need a certificate, too. */
export type TlsIdentity = Pick<SecureContextOptions, "key" | "cert" | "ca">;

/** Something that listens. */
export type Listener = {
  /** Rejects with the errno of bind(2) or listen(2), and with SERVER_CLOSED after `close()`. */
  readonly listen: (where: ListenOptions) => Promise<AddressInfo>;
  /** For good. Whoever has come already is still let in. */
  readonly close: () => Promise<void>;
  /** Ends connections that are not over with the handshake of TLS. */
  readonly cutOff: () => void;
};

/** Beyond the limit, so many are refused politely at a time; the others are dropped. */
export const POLITE_REFUSALS = 100;

/** noDelay: an answer goes out at once; what belongs together is one write anyway. */
const OPTIONS = { allowHalfOpen: true, noDelay: true };

/** Makes one that does not listen yet. Throws what node:tls throws about a bad key or certificate. */
export function newListener(
  core: Core,
  tls: TlsIdentity | undefined,
  onSocket: (socket: Socket) => void,
): Listener {
  const plain = new Set<Socket>();
  const server = watched(
    tls === undefined
      ? createServer(OPTIONS, onSocket)
      : underTls(core, tls, onSocket).on("connection", (socket: Socket) => {
          plain.add(socket.on("close", () => plain.delete(socket)));
        }),
    core,
  );
  let isClosed = false;
  const refuseIfClosed = (): void => {
    if (!isClosed) return;
    server.close();
    throw closedError();
  };
  return {
    listen: async (where) => {
      refuseIfClosed();
      const address = await listening(server, where, core.onEvent);
      refuseIfClosed();
      return address;
    },
    close: async () => {
      isClosed = true;
      // Who has come already is let in: the kernel resets whoever still waits for accept() when nobody listens any more.
      await twoTurns();
      server.close();
    },
    cutOff: () => {
      for (const socket of plain) socket.destroy();
    },
  };
}

function underTls(core: Core, tls: TlsIdentity, onSocket: (socket: Socket) => void): Server {
  const options = {
    ...OPTIONS,
    ...tls,
    requestCert: tls.ca !== undefined,
    rejectUnauthorized: true,
    handshakeTimeout: core.limits.handshakeTimeoutMs,
  };
  return createTlsServer(options, onSocket).on("tlsClientError", (error, socket) => {
    core.tally.tlsFailed += 1;
    const client = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
    core.onEvent?.({ event: "tls_error", client, message: error.message });
    socket.destroy();
  });
}

/** What is beyond the politely refused is closed before it costs anything, TLS handshakes under way included. */
function watched(server: Server, { limits, tally, onEvent }: Core): Server {
  server.maxConnections = limits.maxConnections + POLITE_REFUSALS;
  return server.on("drop", (peer) => {
    tally.droppedAtOnce += 1;
    const client = `${peer?.remoteAddress ?? "?"}:${peer?.remotePort ?? "?"}`;
    onEvent?.({ event: "dropped", client });
  });
}

function listening(
  server: Server,
  where: ListenOptions,
  onEvent: Core["onEvent"],
): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject).once("close", () => reject(closedError()));
    server.listen({ ...where, host: where.host ?? "127.0.0.1" }, () => {
      server.off("error", reject);
      // What goes wrong while accepting is news, where there is any, and not a reason to end.
      server.on("error", ({ code, message }: NodeJS.ErrnoException) =>
        onEvent?.({ event: "accept_error", errno: code ?? message }),
      );
      resolve(server.address() as AddressInfo);
    });
  });
}

function closedError(): Error {
  const message = "this server has been closed: createJsonServer() makes another one";
  return Object.assign(new Error(message), { code: "SERVER_CLOSED" });
}
