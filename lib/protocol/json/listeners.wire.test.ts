import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../testing/programs.ts";
import { framed } from "../../testing/raw-peer.ts";
import { JsonClient, type ClientEvents } from "./client.ts";
import { openConnection } from "./connect.ts";
import { createJsonServer } from "./server.ts";

/** What came out of listeners; else it would end the test as it ends a program that does not want to hear of it. */
const uncaught: unknown[] = [];
let others: NodeJS.UncaughtExceptionListener[];
beforeEach(() => {
  uncaught.length = 0;
  others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => uncaught.push(error.message));
});
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  process.removeAllListeners("uncaughtException");
  for (const other of others) process.on("uncaughtException", other);
});

async function rawServer(behave: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    behave(socket);
  });
  ends.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function fail(): never {
  throw new Error("the listener's");
}

const FAST = { baseMs: 1, capMs: 5 };

describe("a listener that throws", () => {
  it("is heard of, and its connection reads on: the rest of what came with the message, too", async () => {
    const news = framed({ type: "broadcast_message", content: "x", from: "?", timestamp: "now" });
    const port = await rawServer((socket) =>
      socket.once("data", () => {
        socket.write(Buffer.concat([news, news, framed({ type: "pong", id: 1 })]));
      }),
    );
    const one = await openConnection({ port });
    ends.push(() => one.close());
    one.on("broadcast", fail);
    expect(await one.request({ type: "ping" }, 1_000)).toMatchObject({ type: "pong" });
    expect(uncaught).toEqual(["the listener's", "the listener's"]);
  });

  it.each<keyof ClientEvents>(["connect", "disconnect", "reconnecting"])(
    "at %s keeps no client from its server, and leaves no connection behind",
    async (event) => {
      let [accepted, open] = [0, 0];
      const port = await rawServer((socket) => {
        accepted += 1;
        open += 1;
        socket.on("close", () => (open -= 1));
        if (accepted === 1) socket.end();
        else socket.once("data", () => socket.write(framed({ type: "pong", id: 1 })));
      });
      const one = new JsonClient({ port, reconnect: FAST });
      one.on(event, fail);
      await one.connect();
      await until(
        () => accepted,
        (count) => count === 2,
      );
      expect(await one.ping()).toMatchObject({ type: "pong" });
      await one.close();
      await until(
        () => open,
        (count) => count === 0,
      );
      expect(accepted).toBe(2);
      expect(new Set(uncaught)).toEqual(new Set(["the listener's"]));
    },
  );

  it("to a server's events keeps it neither from answering nor from its end", async () => {
    const server = createJsonServer({ onEvent: fail });
    const { port } = await server.listen({ port: 0 });
    const one = new JsonClient({ port, reconnect: false });
    expect(await one.ping()).toMatchObject({ type: "pong" });
    await one.close();
    await server.close();
    await expect(one.connect()).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
    await expect(openConnection({ port })).rejects.toMatchObject({ code: "ECONNREFUSED" });
    // One for each of connect, end of the connection, shutdown.
    expect(uncaught).toEqual(["the listener's", "the listener's", "the listener's"]);
  });
});
