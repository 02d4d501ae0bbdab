import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { hasTool } from "../../kernel/tools.ts";
import { freePort, until } from "../../testing/programs.ts";
import { framed } from "../../testing/raw-peer.ts";
import { backoffMs } from "./backoff.ts";
import { JsonClient, type JsonClientOptions } from "./client.ts";
import { openConnection } from "./connect.ts";
import { FrameDecoder } from "./frames.ts";
import { decodeMessage, type Message } from "./messages.ts";
import { createJsonServer, type JsonServer, type JsonServerOptions } from "./server.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(
  options: JsonServerOptions = {},
  port = 0,
): Promise<{ server: JsonServer; port: number }> {
  const server = createJsonServer(options);
  const address = await server.listen({ port });
  ends.push(() => server.close({ drainMs: 0 }));
  return { server, port: address.port };
}

function client(options: JsonClientOptions): JsonClient {
  const one = new JsonClient(options);
  ends.push(() => one.close());
  return one;
}

/** A server that does with each connection what the test says. */
async function rawServer(
  behave: (socket: Socket) => void,
  port = 0,
): Promise<{ server: Server; port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    behave(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  ends.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { server, port: (server.address() as AddressInfo).port };
}

describe("a client", () => {
  it("has a method for each request, and a promise for each answer", async () => {
    const { port } = await serve({ name: "TCP Server" });
    const one = client({ port });
    expect(await one.ping()).toMatchObject({ type: "pong" });
    expect(await one.echo("Hello TCP Server!")).toMatchObject({
      content: "Hello TCP Server!",
      echoed_by: "TCP Server",
    });
    expect(await one.broadcast("nobody is here")).toBe(0);
    expect(await one.stats()).toMatchObject({ connected_clients: 1, total_messages: 4 });
    await expect(one.request({ type: "custom_type", data: "value" })).rejects.toMatchObject({
      code: "UNKNOWN_TYPE",
    });
  });

  it("gives each of many requests its own answer, and writes them in few pieces", async () => {
    let chunks = 0;
    const { port } = await rawServer((socket) => {
      socket.on("data", () => (chunks += 1));
      // Answers in the wrong order, of which a server of ours would not think.
      socket.once("data", () =>
        socket.write(
          Buffer.concat(
            Array.from({ length: 23 }, (_, n) => framed({ type: "pong", id: 23 - n, n: 23 - n })),
          ),
        ),
      );
    });
    const one = client({ port });
    await one.connect();
    const answers = await Promise.all(
      Array.from({ length: 23 }, () => one.request({ type: "anything" })),
    );
    expect(answers.map(({ n }) => n)).toEqual(Array.from({ length: 23 }, (_, n) => n + 1));
    expect(chunks).toBe(1);
  });

  it("sends at once what is too large to be put together, too", async () => {
    const { port } = await serve();
    const one = client({ port });
    const contents = ["a", "b", "c"].map((letter) => letter.repeat(900_000));
    const answers = await Promise.all(contents.map((content) => one.echo(content)));
    expect(answers.map(({ content }) => content === contents.shift())).toEqual([true, true, true]);
  });

  it("hears broadcasts, and answers the server's pings by itself", async () => {
    const { server, port } = await serve({ heartbeatMs: 60, heartbeatTimeoutMs: 400 });
    const [speaker, listener] = [client({ port }), client({ port })];
    const heard: unknown[] = [];
    listener.on("broadcast", ({ content }) => heard.push(content));
    await listener.connect();
    expect(await speaker.broadcast("to all")).toBe(1);
    await until(
      () => heard,
      (all) => all.length === 1,
    );
    const before = server.tally.messages;
    await until(
      () => server.tally.messages,
      (messages) => messages > before + 3,
    );
    expect(server.tally.errors.get("HEARTBEAT_TIMEOUT")).toBe(0);
    expect(heard).toEqual(["to all"]);
  });

  it("answers a ping with its fields, and tells of what it has not asked for", async () => {
    const decoder = new FrameDecoder();
    const answers: Message[] = [];
    const { port } = await rawServer((socket) => {
      socket.write(
        Buffer.concat([
          framed({ type: "ping", id: 23, timestamp: "then" }),
          framed({ type: "notice", text: "for you" }),
          framed({ type: "error", code: "IDLE_TIMEOUT", message: "too long", closes: true }),
        ]),
      );
      socket.on("data", (chunk: Buffer) => {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
          answers.push(decodeMessage(frame));
      });
    });
    const one = client({ port });
    const told: unknown[] = [];
    one.on("message", ({ type }) => told.push(type));
    one.on("refused", ({ code }) => told.push(code));
    await one.connect();
    await until(
      () => answers,
      (all) => all.length === 1,
    );
    expect(answers).toMatchObject([{ type: "pong", id: 23, ping_timestamp: "then" }]);
    expect(told).toEqual(["notice", "IDLE_TIMEOUT"]);
  });

  it("hears a broadcast that comes together with the answer to its token", async () => {
    const { port } = await rawServer((socket) =>
      socket.once("data", () =>
        socket.write(
          Buffer.concat([
            framed({ type: "auth_response", status: "authenticated", id: 1 }),
            framed({ type: "broadcast_message", content: "early", from: "?", timestamp: "now" }),
          ]),
        ),
      ),
    );
    const one = client({ port, token: "secret-23" });
    const heard: string[] = [];
    one.on("broadcast", ({ content }) => heard.push(content));
    await one.connect();
    await until(
      () => heard,
      (contents) => contents.length === 1,
    );
  });

  it("gives up a request whose answer does not come in time, and takes no harm from the answer that is late", async () => {
    const { port } = await serve({
      handlers: {
        late: async () => {
          await new Promise((resolve) => setTimeout(resolve, 150));
          return { type: "late_answer" };
        },
      },
    });
    const one = client({ port });
    const unasked: unknown[] = [];
    one.on("message", (message) => unasked.push(message));
    await expect(one.request({ type: "late" }, 50)).rejects.toMatchObject({
      code: "REQUEST_TIMEOUT",
    });
    // Answers come in order: the late one is here by then.
    expect(await one.echo("after")).toMatchObject({ content: "after" });
    expect(unasked).toEqual([]);
  });

  it("notices a server that has gone silent, and does not wait for ever", async () => {
    const { port } = await rawServer((socket) => socket.resume());
    const one = client({ port, heartbeatMs: 100, heartbeatTimeoutMs: 100, reconnect: false });
    const lost = once(one, "disconnect");
    await one.connect();
    expect(await lost).toMatchObject([{ code: "PEER_SILENT" }]);
  });

  it("does not take bytes that are no message for one", async () => {
    const { port } = await rawServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const one = client({ port, reconnect: false });
    await expect(one.ping()).rejects.toMatchObject({ code: "FRAME_TOO_LARGE" });
  });

  it("compresses once both have agreed", async () => {
    const { server, port } = await serve();
    const one = client({ port, compression: true });
    const content = "again and again ".repeat(10_000);
    expect(await one.echo(content)).toMatchObject({ content });
    expect(server.tally.bytesIn).toBeLessThan(5_000);
    expect(server.tally.bytesOut).toBeLessThan(5_000);
  });

  it("shows its token first; with a wrong one it does not try again", async () => {
    const { server, port } = await serve({ authToken: "secret-23" });
    expect(await client({ port, token: "secret-23" }).echo("in")).toMatchObject({ content: "in" });
    await expect(client({ port, token: "wrong" }).echo("in")).rejects.toMatchObject({
      code: "AUTHENTICATION_FAILED",
    });
    expect(server.tally.errors.get("AUTHENTICATION_FAILED")).toBe(1);
  });

  it("does not come back when the server wants a token that it has not got", async () => {
    const { server, port } = await serve({ authToken: "secret-23" });
    const one = client({ port });
    let tries = 0;
    one.on("reconnecting", () => (tries += 1));
    const lost = once(one, "disconnect");
    await expect(one.ping()).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await lost;
    await new Promise((resolve) => setImmediate(resolve));
    expect(tries).toBe(0);
    expect(server.tally.accepted).toBe(1);
  });

  it("counts the time for the first steps against the limit of all, be it for connecting or for a request", async () => {
    const { port } = await rawServer((socket) =>
      socket.once("data", () => {
        const answer = { type: "auth_response", status: "authenticated", id: 1 };
        setTimeout(() => socket.write(framed(answer)), 900);
      }),
    );
    const startMs = performance.now();
    const token = "secret-23";
    const connecting = openConnection({ port, token, compression: true, connectTimeoutMs: 1_000 });
    const request = client({ port, token }).request({ type: "anything" }, 1_000);
    await Promise.all([
      expect(connecting).rejects.toMatchObject({ code: "CONNECT_TIMEOUT" }),
      expect(request).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" }),
    ]);
    expect(performance.now() - startMs).toBeLessThan(1_700);
  });

  it("has no connection in time where nobody answers its token", async () => {
    const { port } = await rawServer((socket) => socket.resume());
    await expect(
      openConnection({ port, token: "secret", connectTimeoutMs: 100 }),
    ).rejects.toMatchObject({ code: "CONNECT_TIMEOUT" });
  });

  it("refuses to hold more open requests than its limit", async () => {
    const { port } = await rawServer((socket) => socket.resume());
    const one = client({ port, maxInFlight: 23, requestTimeoutMs: 500 });
    await one.connect();
    const results = await Promise.allSettled(Array.from({ length: 30 }, () => one.ping()));
    const codes = results.map((result) =>
      result.status === "rejected" ? (result.reason as { code: string }).code : "",
    );
    expect(codes.filter((code) => code === "IN_FLIGHT_LIMIT")).toHaveLength(7);
    expect(codes.filter((code) => code === "REQUEST_TIMEOUT")).toHaveLength(23);
  });

  it("takes undefined for what is not given", async () => {
    const limits = { requestTimeoutMs: undefined, maxInFlight: undefined, heartbeatMs: undefined };
    const { port } = await serve(limits as unknown as JsonServerOptions);
    const reconnect = { baseMs: undefined, capMs: undefined };
    const one = client({ port, ...limits, reconnect } as unknown as JsonClientOptions);
    const delays: number[] = [];
    one.on("reconnecting", ({ delayMs }) => delays.push(delayMs));
    expect(await one.ping()).toMatchObject({ type: "pong" });
    const nobody = { port: await freePort(), ...limits, reconnect, requestTimeoutMs: 200 };
    const lonely = client(nobody as unknown as JsonClientOptions);
    lonely.on("reconnecting", ({ delayMs }) => delays.push(delayMs));
    await expect(lonely.ping()).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" });
    expect(delays.length).toBeGreaterThan(0);
    expect(delays.every((ms) => ms >= 0 && ms <= 30_000)).toBe(true);
  });

  it("rejects what JSON has no words for, as any other request that is not sent", async () => {
    const { port } = await serve();
    const one = await openConnection({ port });
    ends.push(() => one.close());
    const asked = one.request({ type: "echo", content: 1n as unknown as string });
    await expect(asked).rejects.toThrow(TypeError);
    expect(await one.request({ type: "ping" })).toMatchObject({ type: "pong" });
  });

  it("sends nothing that is asked after close(), be it in the same turn", async () => {
    const { server, port } = await serve();
    const one = client({ port });
    await one.ping();
    const closing = one.close();
    await expect(one.ping()).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
    await closing;
    expect(server.tally.messages).toBe(1);
  });

  it("waits at its end for the answers under way", async () => {
    const { port } = await serve({
      handlers: {
        late: async () => {
          await new Promise((resolve) => setTimeout(resolve, 100));
          return { type: "late_answer" };
        },
      },
    });
    const one = new JsonClient({ port });
    await one.connect();
    const answer = one.request({ type: "late" });
    await one.close();
    expect(await answer).toMatchObject({ type: "late_answer" });
    await expect(one.ping()).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
  });
});

describe("the end of a connection", () => {
  it("comes even if the server never reads what is left", async () => {
    const { port } = await rawServer((socket) => socket.pause());
    const one = await openConnection({ port, heartbeatMs: 0 });
    const content = "x".repeat(1_000_000);
    while (!one.socket.writableNeedDrain) {
      one.send({ type: "text", content });
      await new Promise((resolve) => setImmediate(resolve));
    }
    one.send({ type: "text", content });
    const startMs = performance.now();
    await one.close();
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });

  it("is a FIN, and over when close() says so", async () => {
    const ending: string[] = [];
    const { port } = await rawServer((socket) =>
      socket
        .on("end", () => ending.push("end"))
        .on("error", () => ending.push("error"))
        .resume(),
    );
    const one = await openConnection({ port });
    const startMs = performance.now();
    await one.close();
    expect(one.socket.destroyed).toBe(true);
    expect(performance.now() - startMs).toBeLessThan(500);
    await until(
      () => ending,
      (seen) => seen.length > 0,
    );
    expect(ending).toEqual(["end"]);
  });

  it("waits no longer for an answer than its request does", async () => {
    const { port } = await rawServer((socket) => socket.resume());
    const one = await openConnection({ port, requestTimeoutMs: 100 });
    const asked = one.request({ type: "ping" });
    const closing = one.close();
    await expect(asked).rejects.toMatchObject({ code: "REQUEST_TIMEOUT" });
    await closing;
    expect(one.socket.destroyed).toBe(true);
  });

  it("comes after what was sent before it", async () => {
    let bytes = 0;
    const { port } = await rawServer((socket) =>
      socket.on("data", ({ length }) => (bytes += length)),
    );
    const one = await openConnection({ port });
    for (let n = 0; n < 5; n += 1) one.send({ type: "text", content: "x".repeat(1_000_000) });
    await one.close();
    await until(
      () => bytes,
      (count) => count > 5_000_000,
    );
  });
});

describe("a heartbeat", () => {
  const beating = { heartbeatMs: 40, heartbeatTimeoutMs: 5_000 };

  /** A server that leaves it to the test what is sent for each message. */
  const answering = (answer: (message: Message, send: (message: object) => void) => void) =>
    rawServer((socket) => {
      const decoder = new FrameDecoder();
      socket.on("data", (chunk: Buffer) => {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
          answer(decodeMessage(frame), (message) => socket.write(framed(message)));
      });
    });

  it.each([
    { type: "pong" },
    { type: "error", code: "RATE_LIMITED", message: "too many", closes: false },
  ])("has its own answer: what others have asked is answered by theirs (%j)", async (answer) => {
    const asked: Message[] = [];
    const { port } = await answering((message, send) => {
      if (message.type !== "ping") asked.push(message);
      else {
        send({ ...answer, id: message.id });
        for (const { type, id } of asked.splice(0)) send({ type: `${type}_done`, id });
      }
    });
    const one = client({ port, ...beating });
    const both = [one.request({ type: "slow" }), one.request({ type: "quick" })];
    expect((await Promise.all(both)).map(({ type }) => type)).toEqual(["slow_done", "quick_done"]);
  });

  it("has its turn when answers have no ids", async () => {
    const asked: string[] = [];
    const { port } = await answering(({ type }, send) => {
      asked.push(type);
      if (type !== "quick") return;
      for (const each of asked) send({ type: each === "ping" ? "pong" : `${each}_done` });
    });
    const one = client({ port, ...beating });
    const slow = one.request({ type: "slow" });
    await until(
      () => asked.length,
      (length) => length === 2,
    );
    expect(await one.request({ type: "quick" })).toEqual({ type: "quick_done" });
    expect(await slow).toEqual({ type: "slow_done" });
  });

  it("counts as no request: neither for the limit, nor for those who wait for the end", async () => {
    let beats = 0;
    const { port } = await answering(({ type, id }, send) => {
      if (type === "ping") beats += 1;
      else send({ type: "done", id });
    });
    const one = await openConnection({ port, ...beating, heartbeatTimeoutMs: 1e6, maxInFlight: 1 });
    await until(
      () => beats,
      (count) => count === 1,
    );
    expect(one.inFlight).toBe(0);
    await one.request({ type: "anything" });
    await one.close();
  });

  it("goes on at the limit, and while answers are waited for at the end", async () => {
    let slow: Message | undefined;
    let beats = 0;
    const { port } = await answering((message, send) => {
      if (message.type === "slow") slow = message;
      else send({ type: "pong", id: message.id });
      if (message.type === "ping" && (beats += 1) === 5) send({ type: "slow_done", id: slow?.id });
    });
    const one = await openConnection({ port, ...beating, heartbeatTimeoutMs: 1e3, maxInFlight: 1 });
    const answer = one.request({ type: "slow" });
    await one.close();
    expect(await answer).toMatchObject({ type: "slow_done" });
  });
});

describe("a client whose server goes away", () => {
  it("rejects what was under way, comes back by itself, and goes on", async () => {
    const port = await freePort();
    const first = await serve({ handlers: { never: () => new Promise(() => undefined) } }, port);
    const one = client({ port, reconnect: { baseMs: 10, capMs: 50 } });
    const tries: number[] = [];
    one.on("reconnecting", ({ attempt }) => tries.push(attempt));
    await one.connect();
    const underWay = one.request({ type: "never" });
    const lost = once(one, "disconnect");
    const [rejection] = await Promise.all([
      underWay.catch((error: unknown) => error as Error & { code: string }),
      first.server.close({ drainMs: 0 }),
    ]);
    expect((rejection as { code: string }).code).toMatch(
      /CONNECTION_CLOSED|SHUTTING_DOWN|ECONNRESET/,
    );
    await lost;
    await until(
      () => tries.length,
      (count) => count >= 3,
    );
    await serve({}, port);
    expect(await one.echo("back")).toMatchObject({ content: "back" });
  });

  it("spares a server that takes connections and closes them, however often it is asked", async () => {
    let accepts = 0;
    const { port } = await rawServer((socket) => {
      accepts += 1;
      socket.end();
    });
    const one = client({ port, reconnect: { baseMs: 5 } });
    const startMs = performance.now();
    const tries: { attempt: number; delayMs: number; acceptsBefore: number }[] = [];
    one.on("reconnecting", ({ attempt, delayMs }) =>
      tries.push({ attempt, delayMs, acceptsBefore: accepts }),
    );
    const order: string[] = [];
    for (const event of ["connect", "disconnect", "reconnecting"] as const)
      one.on(event, () => order.push(event));
    // In each turn of the event loop, so that some come between the server's FIN and the end of the connection.
    while (tries.length < 8 && performance.now() - startMs < 10_000) {
      void one.ping().catch(() => undefined);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const tookMs = performance.now() - startMs;
    expect(tries.length).toBe(8);
    expect(tries.map(({ attempt }) => attempt)).toEqual(tries.map((_, index) => index + 1));
    expect(tries.map(({ acceptsBefore }) => acceptsBefore)).toEqual(
      tries.map((_, index) => index + 1),
    );
    expect(order).toEqual(tries.flatMap(() => ["connect", "disconnect", "reconnecting"]));
    const waitedMs = tries.slice(0, -1).reduce((sum, { delayMs }) => sum + delayMs, 0);
    expect(tookMs).toBeGreaterThan(waitedMs - tries.length);
    for (const { attempt, delayMs } of tries)
      expect(delayMs).toBeLessThanOrEqual(5 * 2 ** (attempt - 1));
  });

  it("does not come back together with all the others", async () => {
    const { server, port } = await serve();
    const all = Array.from({ length: 23 }, () => client({ port, reconnect: { baseMs: 1_000 } }));
    const waits = all.map((one) => once(one, "reconnecting"));
    await Promise.all(all.map((one) => one.connect()));
    await server.close({ drainMs: 0 });
    const tries = (await Promise.all(waits)) as [{ attempt: number; delayMs: number }][];
    expect(new Set(tries.map(([{ attempt }]) => attempt))).toEqual(new Set([1]));
    expect(new Set(tries.map(([{ delayMs }]) => delayMs)).size).toBeGreaterThan(11);
  });

  it("waits no longer than at first once a request has been answered", async () => {
    const { port } = await rawServer((socket) =>
      socket.once("data", (chunk: Buffer) => {
        const { id } = JSON.parse(chunk.subarray(4).toString()) as { id: number };
        socket.end(framed({ type: "pong", id }));
      }),
    );
    const one = client({ port, reconnect: { baseMs: 1, capMs: 1_000 } });
    for (let n = 0; n < 5; n += 1) {
      const waits = once(one, "reconnecting");
      await one.ping();
      expect(await waits).toMatchObject([{ attempt: 1 }]);
    }
  });

  it("waits no longer than at first when the connection has lasted, though it only listens", async () => {
    const { port } = await rawServer((socket) => {
      const timer = setTimeout(() => socket.end(), 100);
      socket.on("close", () => clearTimeout(timer));
    });
    const one = client({ port, reconnect: { baseMs: 1, capMs: 20 } });
    const attempts: number[] = [];
    one.on("reconnecting", ({ attempt }) => attempts.push(attempt));
    await one.connect();
    await until(
      () => attempts.length,
      (count) => count >= 3,
    );
    expect(new Set(attempts)).toEqual(new Set([1]));
  });

  it("ends at once when it is closed while it waits", async () => {
    let accepts = 0;
    const { port } = await rawServer((socket) => {
      accepts += 1;
      socket.end();
    });
    const one = new JsonClient({ port, reconnect: { baseMs: 1e9, capMs: 1e9 } });
    const waits = once(one, "reconnecting");
    const asked = one.ping().then(() => one.ping());
    await Promise.all([waits, expect(asked).rejects.toMatchObject({ code: /CLOSED/ })]);
    await one.close();
    expect(accepts).toBe(1);
  });

  it("blames no server for what it has refused itself", async () => {
    const { port } = await serve();
    const one = client({ port, maxInFlight: 2, breaker: { failures: 3, halfOpenAfterMs: 60_000 } });
    await one.connect();
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => one.ping()));
    const refused = results.filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(8);
    const unwritable = { type: "echo", content: 23n } as never;
    for (let n = 0; n < 3; n += 1) await expect(one.request(unwritable)).rejects.toThrow(TypeError);
    expect(await one.ping()).toMatchObject({ type: "pong" });
  });

  it("with a circuit breaker stops trying after so many failures, and tries again after a while", async () => {
    const port = await freePort();
    const one = client({ port, reconnect: false, breaker: { failures: 3, halfOpenAfterMs: 200 } });
    const codes: string[] = [];
    for (let n = 0; n < 5; n += 1)
      codes.push(
        await one.ping().then(
          () => "answered",
          (error: unknown) => (error as { code: string }).code,
        ),
      );
    expect(codes).toEqual([
      "ECONNREFUSED",
      "ECONNREFUSED",
      "ECONNREFUSED",
      "CIRCUIT_OPEN",
      "CIRCUIT_OPEN",
    ]);
    await serve({}, port);
    await until(
      () =>
        one.ping().then(
          () => "answered",
          (error: unknown) => (error as { code: string }).code,
        ),
      (code) => code === "answered",
    );
  });
});

describe("the delays between tries", () => {
  it("lie between 0 and a limit that doubles up to the cap", () => {
    fc.assert(
      fc.property(
        fc.nat(40),
        fc.integer({ min: 1, max: 1_000 }),
        fc.integer({ min: 1, max: 60_000 }),
        (failed, baseMs, capMs) => {
          const delayMs = backoffMs(failed, { baseMs, capMs });
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThanOrEqual(Math.min(capMs, baseMs * 2 ** failed));
        },
      ),
    );
  });

  it("are not the same for two clients", () => {
    const delays = new Set(
      Array.from({ length: 23 }, () => backoffMs(20, { baseMs: 1_000, capMs: 1e9 })),
    );
    expect(delays.size).toBe(23);
  });
});

describe.skipIf(!hasTool("python3"))("a server written in another language, without ids", () => {
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
  });

  it("is understood: answers find their requests by their order", async () => {
    const peer = spawn("python3", [join(import.meta.dirname, "peer.py"), "server", "0"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    started.push(peer);
    const [line] = (await once(peer.stdout, "data")) as [Buffer];
    const { listening: port } = JSON.parse(line.toString()) as { listening: number };
    const one = await openConnection({ port });
    ends.push(() => one.close());
    const [pong, echo, stats, unknown, again] = await Promise.allSettled([
      one.request({ type: "ping" }),
      one.request({ type: "echo", content: "Grüße" }),
      one.request({ type: "get_stats" }),
      one.request({ type: "custom_type" }),
      one.request({ type: "echo", content: "again" }),
    ]);
    expect(pong).toMatchObject({ value: { type: "pong" } });
    expect(echo).toMatchObject({ value: { content: "Grüße", echoed_by: "Python peer" } });
    expect(stats).toMatchObject({ value: { total_messages: 3 } });
    expect(unknown).toMatchObject({ reason: { name: "RemoteError" } });
    expect(again).toMatchObject({ value: { content: "again" } });
  });
});
