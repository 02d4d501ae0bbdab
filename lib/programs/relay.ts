/** relay: a piece of network between a client and its server that can be cut, and held up. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Passes bytes on, both ways, as long as it is not told otherwise. */
export class Relay implements AsyncDisposable {
  readonly #to: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #isHeld = false;
  /** Where it listens, on 127.0.0.1; the same after each start. */
  port = 0;

  constructor(to: { readonly host: string; readonly port: number }) {
    this.#to = to;
  }

  /** Listens; rejects with the errno of bind(2). */
  async start(): Promise<void> {
    const server = createServer((near) => this.#join(near));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(this.port, "127.0.0.1", resolve);
    });
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** Does not listen any more, and ends every connection, without a word. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const isClosed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await isClosed;
  }

  /** From now on nothing passes, and nobody is told. */
  hold(): void {
    this.#isHeld = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What was held up arrives, late. */
  release(): void {
    this.#isHeld = false;
    for (const socket of this.#sockets) socket.resume();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #join(near: Socket): void {
    const far = connect({ ...this.#to, noDelay: true });
    near.setNoDelay(true);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one);
      one
        .on("data", (chunk) => other.write(chunk))
        .on("end", () => other.end())
        .on("error", () => undefined)
        .on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
      if (this.#isHeld) one.pause();
    }
  }
}
