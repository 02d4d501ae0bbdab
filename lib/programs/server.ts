/** server: an echo server that keeps an eye on itself. Prints nothing. */
import type { AddressInfo } from "node:net";
import { freeDescriptors } from "../kernel/process.ts";
import { openProcessWatch, type ProcessWatch } from "../kernel/watch.ts";
import {
  createEchoServer,
  type EchoServer,
  type EchoServerOptions,
} from "../protocol/echo-server.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { ProcListenerTally } from "../sockets/listener.ts";
import { keepYoungGenerationSmall } from "./heap.ts";
import { listenTrouble } from "./listen-trouble.ts";

/** Where and how to serve. */
export type ServeOptions = EchoServerOptions & {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** Connections that may wait for accept(2) are one more: the kernel compares with "greater than". */
  readonly backlog: number;
};

/** What a server knows at one instant, from itself and from the kernel. */
export type ServerStatus = {
  readonly address: string;
  readonly accepted: number;
  readonly open: number;
  readonly descriptors: {
    readonly open: number;
    readonly limit: number;
    readonly isExhausted: boolean;
  };
  readonly closeWait: number;
  /** Connections that wait in the accept queue. */
  readonly queued: number;
  /** Handshakes that the kernel completed for this listener, or for all of its namespace when others listen there too. */
  readonly passiveOpens: number;
  readonly otherListeners: number;
  /** Has it ever been out of descriptors? */
  readonly wasExhausted: boolean;
  /** Connections that the kernel completed and the program was never told of: libuv closed them for want of a descriptor. */
  readonly shed: number;
};

/** A server that listens. */
export type Serving = {
  readonly address: AddressInfo;
  /** Looks at itself and at the kernel. Works without a free descriptor. */
  readonly observe: () => Promise<ServerStatus>;
  readonly stop: () => void;
};

const MAX_REST_MS = 5_000;

/** Listens; rejects with EADDRINUSE, EACCES, EADDRNOTAVAIL as listen(2) and bind(2) do. */
export async function serve(options: ServeOptions): Promise<Serving> {
  keepYoungGenerationSmall();
  const watch = openProcessWatch();
  const echo = createEchoServer(options);
  const address = await listen(echo, options);
  const { soft } = watch.descriptors().limit;
  const ownDescriptors = soft - freeDescriptors("self", soft);
  let wasExhausted = false;
  const observe = async (): Promise<ServerStatus> => {
    const status = await look(watch, echo, address);
    // A burst may come and go between two looks: then the most connections that were ever open tell.
    wasExhausted ||=
      status.descriptors.isExhausted ||
      ownDescriptors + echo.counts.peakOpen >= status.descriptors.limit;
    const unseen = status.passiveOpens - status.accepted - status.queued;
    return { ...status, wasExhausted, shed: wasExhausted ? Math.max(0, unseen) : 0 };
  };
  const stop = (): void => {
    echo.stop();
    watch.close();
  };
  return { address, observe, stop };
}

/**
 * A long socket table takes long to read, and 2 % of the time is enough for watching. But a busy program's look mostly waits for its
 * turn, which costs nothing: so it rests for 5 s at most, or its line would show the beginning of a bomb long after its end.
 */
export function restAfterLookMs(lookMs: number, intervalMs: number): number {
  return Math.max(intervalMs, Math.min(50 * lookMs, MAX_REST_MS));
}

function listen(
  { server }: EchoServer,
  { host, port, backlog }: ServeOptions,
): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenTrouble(error, port)));
    server.listen({ host, port, backlog }, () => resolve(server.address() as AddressInfo));
  });
}

async function look(
  watch: ProcessWatch,
  { counts }: EchoServer,
  { address, port }: AddressInfo,
): Promise<Omit<ServerStatus, "wasExhausted" | "shed">> {
  const tally = new ProcListenerTally(new Set([port]));
  for await (const rows of watch.socketTables()) tally.add(rows);
  // From here on nothing is awaited: what the program and the kernel say belongs to the same instant.
  const view = tally.view();
  const { open, limit, isExhausted } = watch.descriptors();
  return {
    address: endpointText({ address, port }),
    accepted: counts.accepted,
    open: counts.open,
    descriptors: { open, limit: limit.soft, isExhausted },
    closeWait: view.server.CLOSE_WAIT,
    queued: view.queued,
    passiveOpens: watch.passiveOpens(),
    otherListeners: view.otherListeners,
  };
}
