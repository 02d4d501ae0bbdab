import { createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../../testing/programs.ts";
import { framed } from "../../testing/raw-peer.ts";
import { JsonClient } from "./client.ts";
import { openConnection } from "./connect.ts";
import { encodeMessage, PLAIN, type Message } from "./messages.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A server that answers the so-many-th chunk on a connection as the test says. */
async function answering(
  answer: (socket: Socket, chunk: number, bytes: Buffer) => void,
): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let chunks = 0;
    sockets.add(socket.on("error", () => undefined));
    socket.on("data", (bytes) => answer(socket, (chunks += 1), bytes));
  });
  ends.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function client(port: number, options: object = {}): JsonClient {
  const one = new JsonClient({ port, reconnect: { baseMs: 1, capMs: 5 }, ...options });
  ends.push(() => one.close());
  return one;
}

describe("a server", () => {
  it("may send compressed what follows its answer to hello in the same chunk", async () => {
    const news: Message = { type: "broadcast_message", content: "x".repeat(2_300), from: "?" };
    const packed = encodeMessage(news, { ...PLAIN, deflate: true });
    const hello = framed({ type: "hello_response", compression: "deflate", id: 1 });
    const port = await answering((socket) => socket.write(Buffer.concat([hello, packed])));
    const heard: string[] = [];
    const one = client(port, { compression: true });
    one.on("broadcast", ({ content }) => heard.push(content));
    await one.connect();
    await until(
      () => heard,
      (contents) => contents.length === 1,
    );
  });

  it("that answers with ids answers nobody with what has none, or somebody else's", async () => {
    const port = await answering((socket, chunk) => {
      if (chunk === 1) socket.write(framed({ type: "pong", id: 1 }));
      else {
        socket.write(framed({ type: "news" }));
        socket.write(framed({ type: "error", code: "RATE_LIMITED", message: "of a pong" }));
        socket.write(framed({ type: "late", id: "yours" }));
        socket.write(framed({ type: "done", id: 2 }));
      }
    });
    const one = client(port);
    const told: string[] = [];
    one.on("message", ({ type }) => told.push(type));
    await one.ping();
    expect(await one.request({ type: "slow" })).toMatchObject({ type: "done" });
    expect(told).toEqual(["news", "error", "late"]);
  });

  it("that sends back what it gets has answered nothing, not even a ping", async () => {
    const port = await answering((socket, _chunk, bytes) => socket.write(bytes));
    const one = client(port);
    for (const type of ["ping", "echo", "get_stats", "text"])
      await expect(one.request({ type })).rejects.toMatchObject({ code: "SENT_BACK" });
    // Types of its own a server may answer as it likes.
    expect(await one.request({ type: "own" })).toMatchObject({ type: "own" });
  });

  it("that asks the same, under the same number, before it answers, has answered", async () => {
    const port = await answering((socket, chunk) => {
      const pong = { type: "pong", id: 1, client_id: `127.0.0.1:${socket.remotePort}` };
      if (chunk === 1) socket.write(framed({ type: "ping", id: 1 }));
      else socket.write(framed(pong));
    });
    expect(await client(port).ping()).toMatchObject({ type: "pong" });
  });

  it("that says it closes, and does not, is left after a moment", async () => {
    const last = { type: "error", code: "SHUTTING_DOWN", message: "", closes: true } as const;
    let chunks = 0;
    const port = await answering((socket) => {
      chunks += 1;
      if (chunks > 1) socket.write(framed({ type: "pong", id: 1 }));
      else socket.write(Buffer.concat([framed({ type: "pong", id: 1 }), framed(last)]));
    });
    const one = client(port, { heartbeatMs: 0 });
    const lost = new Promise<Error>((resolve) => one.once("disconnect", resolve));
    await one.ping();
    expect(await lost).toMatchObject({ code: "SHUTTING_DOWN" });
    expect(await one.ping()).toMatchObject({ type: "pong" });
  });

  it.each([
    ["to a request", { id: 1 }],
    ["unasked, and closes", { closes: true }],
  ])(
    "that answers with an error whose words are none, %s, is told like any other",
    async (_when, more) => {
      const error = { type: "error", code: 23, message: { toString: null }, ...more };
      const port = await answering((socket) => socket.write(framed(error)));
      const one = client(port, { reconnect: false });
      await expect(one.ping()).rejects.toMatchObject({
        ...{ name: "RemoteError", code: "REMOTE_ERROR" },
        message: "the server has answered with an error",
      });
    },
  );

  it("that is late, and has no ids, gives nobody the answer of somebody else", async () => {
    let late: Socket | undefined;
    const port = await answering((socket, chunk) => {
      if (late === undefined) late = socket;
      else if (socket === late && chunk === 2) {
        socket.write(framed({ type: "echo_response", content: "one" }));
        socket.write(framed({ type: "echo_response", content: "two" }));
      } else socket.write(framed({ type: "echo_response", content: "three" }));
    });
    const one = client(port, { heartbeatMs: 0 });
    await expect(one.request({ type: "echo", content: "one" }, 23)).rejects.toMatchObject({
      code: "REQUEST_TIMEOUT",
    });
    await expect(one.echo("two")).rejects.toMatchObject({ code: "CONNECTION_CLOSED" });
    expect(await one.echo("three")).toMatchObject({ content: "three" });
  });

  it("that is late with one thing, and has no ids, still answers another", async () => {
    const port = await answering((socket, chunk) => {
      if (chunk === 2) socket.write(framed({ type: "pong" }));
    });
    const one = client(port, { heartbeatMs: 0 });
    await expect(one.request({ type: "get_stats" }, 23)).rejects.toMatchObject({
      code: "REQUEST_TIMEOUT",
    });
    expect(await one.ping()).toMatchObject({ type: "pong" });
  });

  it("that sends its FIN and reads nothing more is not waited for either", async () => {
    const port = await answering((socket) => socket.pause().end());
    const one = await openConnection({ port, heartbeatMs: 0 });
    const closed = new Promise((resolve) => one.once("close", resolve));
    // More than the kernels of both sides take.
    await expect(
      one.request({ type: "echo", content: "x".repeat(2 ** 24) }, 60_000),
    ).rejects.toMatchObject({ code: "CONNECTION_CLOSED" });
    await closed;
  });
});

describe("a client that asks from within a listener", () => {
  it("has one connection", async () => {
    let accepted = 0;
    const server = createServer((socket) => {
      accepted += 1;
      socket.on("error", () => undefined);
      if (accepted === 1) socket.destroy();
      else socket.on("data", () => socket.write(framed({ type: "pong", id: accepted - 1 })));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ends.push(() => server.close());
    const one = client((server.address() as AddressInfo).port);
    let tries = 0;
    one.on("reconnecting", () => {
      tries += 1;
      one.ping().catch(() => undefined);
    });
    await one.connect();
    await until(
      () => accepted,
      (count) => count === 2,
    );
    expect(tries).toBe(1);
  });
});

describe("a circuit breaker", () => {
  const breaker = { failures: 1, halfOpenAfterMs: 1 };

  it("that has let one request through keeps the others no longer than they want to wait", async () => {
    const port = await answering(() => undefined);
    const one = client(port, { breaker, reconnect: false });
    await expect(one.request({ type: "ping" }, 50)).rejects.toMatchObject({
      code: "REQUEST_TIMEOUT",
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    const tried = one.request({ type: "ping" }, 500).catch((error: unknown) => error);
    const startMs = performance.now();
    await expect(one.request({ type: "ping" }, 50)).rejects.toMatchObject({
      code: "CIRCUIT_OPEN",
    });
    expect(performance.now() - startMs).toBeLessThan(400);
    expect(await tried).toMatchObject({ code: "REQUEST_TIMEOUT" });
    await one.close();
    await expect(one.ping()).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
  });
});
