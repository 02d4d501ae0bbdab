import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../../testing/programs.ts";
import { framed, rawPeer, type RawPeer } from "../../testing/raw-peer.ts";
import { ProtocolError } from "./errors.ts";
import type { Message } from "./messages.ts";
import {
  createJsonServer,
  type Closing,
  type JsonServer,
  type JsonServerOptions,
} from "./server.ts";

const open: { server: JsonServer; peers: RawPeer[] }[] = [];

afterEach(async () => {
  for (const { server, peers } of open.splice(0)) {
    for (const peer of peers) peer.destroy();
    await server.close({ drainMs: 0 });
  }
});

async function serve(options: JsonServerOptions = {}) {
  const server = createJsonServer(options);
  const { port } = await server.listen({ port: 0 });
  const peers: RawPeer[] = [];
  open.push({ server, peers });
  const join = async (): Promise<RawPeer> => {
    const peer = await rawPeer(port);
    peers.push(peer);
    return peer;
  };
  return { server, port, join };
}

/** A frame with this header and these bytes. */
const frame = (header: string, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.from(header, "hex"), payload]);

const inflatesTo = (bytes: number): Buffer => {
  const packed = deflateSync(Buffer.alloc(bytes, " "));
  const header = Buffer.alloc(4);
  header.writeUInt32BE((packed.length | 0x8000_0000) >>> 0);
  return Buffer.concat([header, packed]);
};

/** A handler that answers later. */
async function slow(): Promise<Message> {
  await pause(100);
  return { type: "slow_done" };
}

describe("bytes that are no message", () => {
  const CASES: readonly (readonly [code: string, closes: boolean, bytes: Buffer])[] = [
    ["FRAME_EMPTY", false, frame("00000000", Buffer.alloc(0))],
    ["FRAME_TOO_LARGE", true, frame("00100001", Buffer.alloc(0))],
    ["FRAME_TOO_LARGE", true, frame("7fffffff", Buffer.alloc(0))],
    ["NOT_NEGOTIATED", true, frame("80000008", Buffer.alloc(8))],
    ["BAD_UTF8", false, frame("00000004", Buffer.from("22c32822", "hex"))],
    ["BAD_JSON", false, framed("{nope")],
    ["BAD_JSON", false, framed("GET / HTTP/1.1\r\n\r\n")],
    ["NOT_AN_OBJECT", false, framed("[1,2]")],
    ["NOT_AN_OBJECT", false, framed("null")],
    ["NOT_AN_OBJECT", false, framed("17")],
    ["TYPE_MISSING", false, framed({ content: "x" })],
    ["TYPE_MISSING", false, framed({ type: 23 })],
    ["UNKNOWN_TYPE", false, framed({ type: "nobody" })],
    ["UNKNOWN_TYPE", false, framed({ type: "__proto__" })],
    ["UNKNOWN_TYPE", false, framed({ type: "constructor" })],
    ["BAD_FIELD", false, framed({ type: "echo" })],
    ["BAD_FIELD", false, framed({ type: "echo", content: 23 })],
    ["BAD_FIELD", false, framed({ type: "ping", timestamp: null })],
    ["BAD_FIELD", false, framed({ type: "hello", compression: "deflate" })],
    ["BAD_FIELD", false, framed({ type: "ping", id: {} })],
    ["BAD_FIELD", false, framed({ type: "ping", id: "x".repeat(257) })],
    ["BAD_FIELD", false, framed('{"type":"ping","id":1e999}')],
  ];

  it.each(CASES)("get %s (closes: %s)", async (code, closes, bytes) => {
    const { join } = await serve();
    const peer = await join();
    peer.send(bytes);
    expect(await peer.next()).toMatchObject({ type: "error", code, closes });
    peer.send(framed({ type: "ping", id: 7 }));
    if (closes) expect(await peer.next()).toBeUndefined();
    else expect(await peer.next()).toMatchObject({ type: "pong", id: 7 });
  });

  it("name the id of their request where it can be read", async () => {
    const { join } = await serve();
    const peer = await join();
    peer.send(framed({ type: "echo", id: "a" }));
    expect(await peer.next()).toMatchObject({ code: "BAD_FIELD", id: "a" });
    peer.send(framed({ type: "what?", id: 0 }));
    expect(await peer.next()).toMatchObject({ code: "UNKNOWN_TYPE", id: 0 });
  });

  it("are answered a hundred times in a row, then no more", async () => {
    const { join } = await serve();
    const peer = await join();
    peer.send(Buffer.concat(Array.from({ length: 200 }, () => framed("{"))));
    const codes = (await peer.rest()).map(({ code }) => code);
    expect(codes).toEqual([...Array.from({ length: 101 }, () => "BAD_JSON"), "TOO_MANY_ERRORS"]);
  });

  it("of which half is missing at the end are no reason for anything but an end", async () => {
    const { server, join } = await serve();
    const peer = await join();
    peer.socket.end(framed({ type: "ping" }).subarray(0, 10));
    expect(await peer.rest()).toEqual([]);
    await until(
      () => server.tally.closed.get("cut"),
      (cut) => cut === 1,
    );
  });
});

describe("requests", () => {
  it("are answered as the documentation says, with the fields of their kind", async () => {
    const { join } = await serve({ name: "TCP Server" });
    const peer = await join();
    const timestamp = "2024-01-01T12:00:00.000Z";
    const instant = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as unknown;
    const { localAddress, localPort } = peer.socket;
    for (const [request, answer] of [
      [
        { type: "ping", timestamp, client_info: "test" },
        {
          type: "pong",
          ping_timestamp: timestamp,
          pong_timestamp: instant,
          client_id: `${localAddress}:${localPort}`,
        },
      ],
      [
        { type: "echo", content: "Grüße \u{1F40D}" },
        {
          type: "echo_response",
          content: "Grüße \u{1F40D}",
          timestamp: instant,
          echoed_by: "TCP Server",
        },
      ],
      [
        { type: "broadcast", content: "to nobody" },
        { type: "broadcast_sent", recipients: 0, timestamp: instant },
      ],
      [
        { type: "text", content: "plain" },
        { type: "text_received", length: 5, timestamp: instant },
      ],
      [
        { type: "get_stats" },
        {
          type: "server_stats",
          connected_clients: 1,
          uptime_seconds: 0,
          total_messages: 5,
          server_start_time: instant,
          current_time: instant,
        },
      ],
    ] as const) {
      peer.send(framed(request));
      expect(await peer.next()).toEqual(answer);
    }
  });

  it("arrive whole, and their answers in order, however the bytes are cut", async () => {
    const { join } = await serve();
    const content = fc.string({ unit: "grapheme", maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(content, { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        async (contents, cuts) => {
          const peer = await join();
          const bytes = Buffer.concat(
            contents.map((text, id) => framed({ type: "echo", content: text, id })),
          );
          const places = [0, ...cuts.map((cut) => cut % bytes.length), bytes.length].sort(
            (a, b) => a - b,
          );
          for (const [index, end] of places.slice(1).entries()) {
            await new Promise((resolve) =>
              peer.socket.write(bytes.subarray(places[index], end), resolve),
            );
          }
          for (const [id, text] of contents.entries())
            expect(await peer.next()).toMatchObject({ id, content: text });
          peer.destroy();
        },
      ),
      { numRuns: 23 },
    );
  });

  it("of types of one's own are answered by one's own handlers, late ones in order, failing ones with INTERNAL", async () => {
    const told: unknown[] = [];
    const { join } = await serve({
      handlers: {
        add: ({ a, b }) => ({ type: "sum", sum: (a as number) + (b as number) }),
        late: async ({ n }) => {
          await new Promise((resolve) => setTimeout(resolve, 30 - 10 * (n as number)));
          return { type: "late", n };
        },
        bad: () => {
          throw new Error("a defect");
        },
      },
      onEvent: (event) => told.push(event),
    });
    const peer = await join();
    peer.send(Buffer.concat([0, 1, 2].map((n) => framed({ type: "late", n, id: n }))));
    for (const n of [0, 1, 2]) expect(await peer.next()).toEqual({ type: "late", n, id: n });
    peer.send(framed({ type: "bad", id: 9 }));
    expect(await peer.next()).toMatchObject({ code: "INTERNAL", closes: false, id: 9 });
    expect(told).toContainEqual(expect.objectContaining({ event: "handler_error", type: "bad" }));
    peer.send(framed({ type: "add", a: 19, b: 4 }));
    expect(await peer.next()).toEqual({ type: "sum", sum: 23 });
  });

  it("are timed as long as their handlers take", async () => {
    const { server, join } = await serve({ handlers: { slow } });
    const peer = await join();
    peer.send(Buffer.concat([1, 2, 3].map((id) => framed({ type: "slow", id }))));
    for (const id of [1, 2, 3]) expect(await peer.next()).toMatchObject({ id });
    const { sum, counts } = server.tally.times;
    expect(sum).toBeGreaterThan(280);
    expect(counts.reduce((total, count) => total + count)).toBe(3);
  });

  it("that a handler fails at are not the client's fault, however many they are", async () => {
    const bad = (): never => {
      throw new Error("a defect");
    };
    const { join } = await serve({ handlers: { bad }, maxErrorsInARow: 3 });
    const peer = await join();
    for (let n = 0; n < 23; n += 1) peer.send(framed({ type: "bad" }));
    for (let n = 0; n < 23; n += 1) expect(await peer.next()).toMatchObject({ code: "INTERNAL" });
    peer.send(framed({ type: "ping" }));
    expect(await peer.next()).toMatchObject({ type: "pong" });
  });

  it("that a handler refuses get its code, and their id", async () => {
    const refuse = () => new ProtocolError("BAD_FIELD", "not like this");
    const { join } = await serve({
      handlers: {
        now: () => {
          throw refuse();
        },
        later: () => Promise.reject(refuse()),
      },
    });
    const peer = await join();
    const refusal = { code: "BAD_FIELD", message: "not like this", closes: false };
    for (const type of ["now", "later"]) {
      peer.send(framed({ type, id: type }));
      expect(await peer.next()).toMatchObject({ ...refusal, id: type });
    }
  });

  it.each(["hello", "auth", "pong", "error"])(
    "of type %s are nobody's but the protocol's",
    (type) => {
      const handlers = { [type]: () => undefined };
      expect(() => createJsonServer({ handlers })).toThrow(TypeError);
    },
  );

  it("come back as they were, whatever had to be escaped in them", async () => {
    const { join } = await serve();
    const peer = await join();
    for (const special of ['"', "\\", '\\"', "\n", '\\u0022"']) {
      const content = special + "x".repeat(2_000) + special;
      peer.send(framed({ type: "echo", content }));
      expect(await peer.next()).toMatchObject({ content });
    }
  });

  it("come back with the content that they had, or that a handler has given them, however long it is", async () => {
    const { join } = await serve({
      handlers: {
        store: ({ content }) => ({ type: "stored", content }),
        quote: (message) => {
          Object.assign(message, { content: '"' });
          return { type: "quoted", content: message["content"] };
        },
      },
    });
    const peer = await join();
    const long = "x".repeat(2_000);
    for (const content of [long, { long }, [long], 5, null, { of: ["short"] }]) {
      peer.send(framed({ type: "store", content, padding: long }));
      expect(await peer.next()).toEqual({ type: "stored", content });
    }
    peer.send(framed({ type: "quote", content: long }));
    expect(await peer.next()).toEqual({ type: "quoted", content: '"' });
  });

  it("that are sent before a FIN are all answered before ours", async () => {
    const { join } = await serve();
    const peer = await join();
    peer.socket.end(
      Buffer.concat(Array.from({ length: 23 }, (_, id) => framed({ type: "ping", id }))),
    );
    expect((await peer.rest()).map(({ id }) => id)).toEqual(
      Array.from({ length: 23 }, (_, id) => id),
    );
  });
});

describe("a broadcast", () => {
  it("reaches all others, not its sender, who is told how many", async () => {
    const { join } = await serve();
    const [sender, ...others] = await Promise.all(Array.from({ length: 23 }, join));
    // All have been accepted once each has an answer.
    for (const peer of [sender!, ...others]) {
      peer.send(framed({ type: "ping" }));
      await peer.next();
    }
    sender!.send(framed({ type: "broadcast", content: "hear" }));
    expect(await sender!.next()).toMatchObject({ type: "broadcast_sent", recipients: 22 });
    for (const peer of others)
      expect(await peer.next()).toMatchObject({
        type: "broadcast_message",
        content: "hear",
        from: `127.0.0.1:${sender!.socket.localPort}`,
      });
  });

  it("costs a client that does not read its connection, and no memory beyond the limit", async () => {
    const { server, join } = await serve({ maxQueuedBytes: 1_048_576 });
    const [sender, slow, good] = [await join(), await join(), await join()];
    slow.send(framed({ type: "ping" }));
    await slow.next();
    slow.socket.pause();
    const content = "x".repeat(500_000);
    let recipients = 2;
    let sent = 0;
    const heard = (async () => {
      for (let message = await good.next(); message !== undefined; message = await good.next())
        if (message["type"] === "broadcast_message") return true;
      return false;
    })();
    while (recipients === 2 && sent < 100) {
      sender.send(framed({ type: "broadcast", content }));
      recipients = (await sender.next())!["recipients"] as number;
      sent += 1;
    }
    expect(recipients).toBe(1);
    expect(await heard).toBe(true);
    await until(
      () => server.tally.errors.get("SLOW_CONSUMER"),
      (count) => count === 1,
    );
    slow.socket.resume();
    const last = (await slow.rest()).at(-1);
    expect(last).toMatchObject({ type: "error", code: "SLOW_CONSUMER", closes: true });
  });
});

describe("a broadcast as large as a frame may be", () => {
  it("reaches every client that is up to date", async () => {
    const { server, join } = await serve({ maxFrameBytes: 2 ** 23 });
    const peers = [await join(), await join(), await join()];
    await until(server.clients, (clients) => clients === 3);
    expect(server.broadcast({ type: "news", content: "x".repeat(7_000_000) } as never)).toBe(3);
    for (const peer of peers) expect(await peer.next()).toMatchObject({ type: "news" });
    expect(server.tally.errors.get("SLOW_CONSUMER")).toBe(0);
  });
});

describe("many broadcasts at once", () => {
  it("are not kept beyond the limit, though none is with the socket yet", async () => {
    const maxQueuedBytes = 10_000;
    const { server, join } = await serve({ maxQueuedBytes });
    const [sender, listener] = [await join(), await join()];
    await until(server.clients, (clients) => clients === 2);
    const one = framed({ type: "broadcast", content: "x".repeat(500) });
    // One chunk: what is made of it is handed over at its end.
    sender.send(Buffer.concat(Array.from({ length: 100 }, () => one)));
    const heard = await listener.rest();
    expect(heard.at(-1)).toMatchObject({ code: "SLOW_CONSUMER" });
    expect(heard.length).toBeGreaterThan(10);
    expect(heard.length).toBeLessThan(1 + maxQueuedBytes / 500);
  });
});

describe("a client that does not read its answers", () => {
  it("is not read from either, and in the end told to leave", async () => {
    const { server, join } = await serve({ stallTimeoutMs: 400, lingerMs: 200 });
    const peer = await join();
    peer.socket.pause();
    const request = framed({ type: "echo", content: "x".repeat(60_000) });
    let written = 0;
    while (peer.socket.writableLength < 4_000_000 && written < 2_000) {
      peer.send(request);
      written += 1;
      if (written % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const before = server.tally.messages;
    await until(
      () => server.tally.errors.get("SLOW_CONSUMER"),
      (count) => count === 1,
    );
    expect(server.tally.messages - before).toBeLessThan(400);
    expect(server.tally.messages).toBeLessThan(written);
  });

  it("is read from again once it does", async () => {
    const { server, join } = await serve();
    const peer = await join();
    peer.socket.pause();
    const request = framed({ type: "echo", content: "x".repeat(100_000) });
    for (let n = 0; n < 200; n += 1) peer.send(request);
    peer.send(framed({ type: "ping", id: 23 }));
    await until(
      () => server.tally.messages,
      (messages) => messages > 10,
    );
    peer.socket.resume();
    let last = await peer.next();
    while (last?.["type"] === "echo_response") last = await peer.next();
    expect(last).toMatchObject({ type: "pong", id: 23 });
    expect(server.tally.messages).toBe(201);
  });
});

describe("a client whose request takes its time", () => {
  it("is not read from meanwhile; then all of it is answered", async () => {
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const { server, join } = await serve({
      handlers: {
        wait: () => finished.then(() => ({ type: "waited" })),
        take: () => ({ type: "taken" }),
      },
    });
    const peer = await join();
    peer.send(framed({ type: "wait" }));
    await until(
      () => server.tally.messages,
      (messages) => messages === 1,
    );
    const large = framed({ type: "take", content: "x".repeat(1_000_000) });
    for (let n = 0; n < 64; n += 1) peer.send(large);
    let [before, unchanged] = [0, 0];
    const timesTheSame = (): number => {
      const now = peer.socket.writableLength;
      unchanged = now === before ? unchanged + 1 : 0;
      before = now;
      return unchanged;
    };
    await until(timesTheSame, (times) => times === 10);
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    expect(server.tally.bytesIn).toBeLessThan(2_000_000);
    finish();
    expect(await peer.next()).toEqual({ type: "waited" });
    for (let n = 0; n < 64; n += 1) expect(await peer.next()).toEqual({ type: "taken" });
  });
});

describe("a client that reads slowly", () => {
  it("is no client that takes nothing: it gets all of it, however long that takes", async () => {
    const stallTimeoutMs = 1_000;
    const large = { maxFrameBytes: 2 ** 26, maxQueuedBytes: 2 ** 26 };
    const { server, port } = await serve({ stallTimeoutMs, ...large });
    const socket = connect(port, "127.0.0.1").pause();
    await until(server.clients, (clients) => clients === 1);
    let bytes = 0;
    let isEnded = false;
    socket.on("data", ({ length }: Buffer) => (bytes += length)).on("end", () => (isEnded = true));
    const startMs = performance.now();
    // In one write: of those that are done the socket would tell by itself.
    server.broadcast({ type: "news", content: "x".repeat(60_000_000) } as never);
    const reading = setInterval(() => {
      const enough = bytes + 1_048_576;
      const stop = (): void => {
        if (bytes >= enough) socket.off("data", stop).pause();
      };
      socket.on("data", stop).resume();
    }, 50);
    await until(
      () => bytes,
      (read) => read === server.tally.bytesOut || isEnded,
      25_000,
    );
    clearInterval(reading);
    socket.destroy();
    expect(performance.now() - startMs).toBeGreaterThan(2 * stallTimeoutMs);
    expect(server.tally.errors.get("SLOW_CONSUMER")).toBe(0);
  });
});

describe("limits", () => {
  it("one client too many is refused with a reason; the next one comes in when another has gone", async () => {
    const { join } = await serve({ maxConnections: 2 });
    const [first, second] = [await join(), await join()];
    for (const peer of [first, second]) {
      peer.send(framed({ type: "ping" }));
      await peer.next();
    }
    const third = await join();
    expect(await third.rest()).toMatchObject([{ code: "TOO_MANY_CONNECTIONS", closes: true }]);
    first.destroy();
    await until(
      async () => {
        const peer = await join();
        peer.send(framed({ type: "ping" }));
        return await peer.next();
      },
      (message) => message?.["type"] === "pong",
    );
  });

  it("of more clients than it can refuse one by one the server drops the rest before they cost anything", async () => {
    const told: string[] = [];
    const { server, port } = await serve({
      maxConnections: 1,
      onEvent: ({ event }) => told.push(event),
    });
    // These do not answer the FIN: each refusal takes its time.
    const lasting = () => rawPeer(port, connect({ port, host: "127.0.0.1", allowHalfOpen: true }));
    const peers = await Promise.all(Array.from({ length: 130 }, lasting));
    const ends = await Promise.all(peers.slice(1).map((peer) => peer.rest()));
    const refused = ends.filter(([message]) => message?.["code"] === "TOO_MANY_CONNECTIONS");
    expect(refused.length).toBe(100);
    expect(server.tally.droppedAtOnce).toBe(29);
    expect(told.filter((event) => event === "dropped")).toHaveLength(29);
    expect(server.clients()).toBe(1);
    for (const peer of peers) peer.destroy();
  });

  it("more messages per second than allowed are refused, then not read until there is room", async () => {
    const { join } = await serve({ ratePerSecond: 200, rateBurst: 10, heartbeatMs: 100 });
    const peer = await join();
    peer.send(Buffer.concat(Array.from({ length: 40 }, (_, id) => framed({ type: "ping", id }))));
    const answers = [];
    while (answers.length < 40) {
      const message = await peer.next();
      if (message?.["id"] !== undefined) answers.push(message);
    }
    const types = answers.map(({ code, type }) => code ?? type);
    expect(types.slice(0, 20)).toEqual([
      ...Array.from({ length: 10 }, () => "pong"),
      ...Array.from({ length: 10 }, () => "RATE_LIMITED"),
    ]);
    expect(types.slice(20)).toContain("pong");
    expect(answers.map(({ id }) => id)).toEqual(Array.from({ length: 40 }, (_, id) => id));
  });

  it("a client without a request for too long is told so; pings alone keep nobody", async () => {
    const { join } = await serve({ idleTimeoutMs: 300, heartbeatMs: 50 });
    const peer = await join();
    const seen: unknown[] = [];
    for (let message = await peer.next(); message !== undefined; message = await peer.next()) {
      seen.push(message["code"] ?? message["type"]);
      if (message["type"] === "ping") peer.send(framed({ type: "pong" }));
    }
    expect(seen.at(-1)).toBe("IDLE_TIMEOUT");
    expect(seen.filter((what) => what === "ping").length).toBeGreaterThan(1);
  });

  it.each([
    { idleTimeoutMs: 500, heartbeatMs: 0 },
    { idleTimeoutMs: 0, heartbeatMs: 500 },
  ])("the time that a handler takes is no silence of the client's: %j", async (limits) => {
    const slow = async () => {
      await new Promise((resolve) => setTimeout(resolve, 750));
      return { type: "slow_done" };
    };
    const { join } = await serve({ ...limits, handlers: { slow } });
    const peer = await join();
    peer.send(framed({ type: "slow" }));
    expect(await peer.next()).toEqual({ type: "slow_done" });
    const startMs = performance.now();
    const { code, type } = (await peer.next())!;
    expect(code ?? type).toBe(limits.heartbeatMs === 0 ? "IDLE_TIMEOUT" : "ping");
    expect(performance.now() - startMs).toBeGreaterThan(250);
  });

  it("a server that was stopped itself blames nobody for the time", async () => {
    const { server, join } = await serve({ heartbeatMs: 100, heartbeatTimeoutMs: 300 });
    const peer = await join();
    expect(await peer.next()).toMatchObject({ type: "ping" });
    // The answer is with the kernel, and the server, which lives on the same thread, cannot look.
    peer.send(framed({ type: "pong" }));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
    peer.send(framed({ type: "ping" }));
    expect(await peer.next()).toMatchObject({ type: "pong" });
    expect(server.tally.errors.get("HEARTBEAT_TIMEOUT")).toBe(0);
  });

  it("a client that does not answer a ping is told so; any byte would have been an answer", async () => {
    const { join } = await serve({ heartbeatMs: 100, heartbeatTimeoutMs: 200 });
    const [silent, chatty] = [await join(), await join()];
    const talk = setInterval(() => chatty.send("00"), 50); // A frame that never becomes complete, byte by byte.
    expect((await silent.rest()).map(({ code, type }) => code ?? type)).toEqual([
      "ping",
      "HEARTBEAT_TIMEOUT",
    ]);
    clearInterval(talk);
    expect(chatty.socket.readableEnded).toBe(false);
  });
});

describe("a token", () => {
  const serveWithToken = () => serve({ authToken: "secret-23", authTimeoutMs: 300 });

  it("opens everything; without it nothing is answered, not even a ping", async () => {
    const { join } = await serveWithToken();
    const [good, hasty] = [await join(), await join()];
    hasty.send(framed({ type: "ping" }));
    expect(await hasty.rest()).toMatchObject([{ code: "UNAUTHENTICATED", closes: true }]);
    good.send(framed({ type: "auth", token: "secret-23", id: 1 }));
    expect(await good.next()).toEqual({ type: "auth_response", status: "authenticated", id: 1 });
    good.send(framed({ type: "ping" }));
    expect(await good.next()).toMatchObject({ type: "pong" });
  });

  it("has to be a text: anything else is a mistake that ends nothing", async () => {
    const { join } = await serveWithToken();
    const peer = await join();
    for (const token of [undefined, 23, ["secret-23"]]) {
      peer.send(framed({ type: "auth", token }));
      expect(await peer.next()).toMatchObject({ code: "BAD_FIELD", closes: false });
    }
    peer.send(framed({ type: "auth", token: "secret-23" }));
    expect(await peer.next()).toMatchObject({ type: "auth_response" });
  });

  it("that is wrong, or late, ends the connection; strangers hear no broadcasts", async () => {
    const { join } = await serveWithToken();
    const [wrong, late, good] = [await join(), await join(), await join()];
    wrong.send(framed({ type: "auth", token: "secret-24" }));
    expect(await wrong.rest()).toMatchObject([{ code: "AUTHENTICATION_FAILED" }]);
    good.send(framed({ type: "auth", token: "secret-23" }));
    await good.next();
    good.send(framed({ type: "broadcast", content: "inner circle" }));
    expect(await good.next()).toMatchObject({ recipients: 0 });
    expect(await late.rest()).toMatchObject([{ code: "AUTHENTICATION_TIMEOUT" }]);
  });
});

describe("compression", () => {
  const agree = async (peer: RawPeer): Promise<void> => {
    peer.send(framed({ type: "hello", compression: ["zstd", "deflate"] }));
    expect(await peer.next()).toMatchObject({ type: "hello_response", compression: "deflate" });
  };

  it("is used in both directions once both have agreed, where it makes a message shorter", async () => {
    const { server, join } = await serve();
    const peer = await join();
    await agree(peer);
    const bytes: Buffer[] = [];
    peer.socket.on("data", (chunk: Buffer) => bytes.push(chunk));
    const packed = deflateSync(JSON.stringify({ type: "echo", content: "x".repeat(100_000) }));
    const header = Buffer.alloc(4);
    header.writeUInt32BE((packed.length | 0x8000_0000) >>> 0);
    peer.send(Buffer.concat([header, packed]));
    await until(
      () => Buffer.concat(bytes).length,
      (length) => length > 4,
    );
    const [first] = bytes;
    expect(first!.readUInt32BE(0) >>> 31).toBe(1);
    expect(server.tally.bytesOut).toBeLessThan(2_000);
  });

  it("that is a bomb is refused, without being inflated beyond the limit", async () => {
    const { join } = await serve();
    const peer = await join();
    await agree(peer);
    peer.send(inflatesTo(64 * 1_048_576));
    expect(await peer.rest()).toMatchObject([{ code: "INFLATED_TOO_LARGE", closes: true }]);
  });

  it("that is none ends the connection", async () => {
    const { join } = await serve();
    const peer = await join();
    await agree(peer);
    peer.send("80000004 deadbeef");
    expect(await peer.rest()).toMatchObject([{ code: "BAD_COMPRESSION", closes: true }]);
  });

  it("is not agreed to by a server that does not compress", async () => {
    const { join } = await serve({ isCompressing: false });
    const peer = await join();
    peer.send(framed({ type: "hello", compression: ["deflate"] }));
    expect(await peer.next()).toMatchObject({ compression: null });
  });
});

describe("the end of a connection", () => {
  it("is told with its reason, its errno and what came and went", async () => {
    const told: object[] = [];
    const { join } = await serve({ onEvent: (event) => told.push(event) });
    const peer = await join();
    peer.send(framed({ type: "ping" }));
    await peer.next();
    peer.socket.resetAndDestroy();
    const [end] = await until(
      () => told.filter((event) => (event as { event: string }).event === "disconnect"),
      (ends) => ends.length === 1,
    );
    expect(end).toMatchObject({ reason: "lost", errno: "ECONNRESET", messages: 1, bytes_in: 19 });
    expect((end as { duration_ms: number }).duration_ms).toBeLessThan(10_000);
  });

  it("comes after lingerMs where the peer never ends it", async () => {
    const { server, port } = await serve({ lingerMs: 50 });
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).resume();
    socket.on("error", () => undefined).write(Buffer.from("7fffffff", "hex"));
    await until(
      () => server.tally.closed.get("FRAME_TOO_LARGE"),
      (count) => count === 1,
      5_000,
    );
    socket.destroy();
  });
});

describe("the end of a server", () => {
  it("comes after the answers to all that had arrived, with a word to each client", async () => {
    const { server, join } = await serve({ handlers: { slow } });
    const [busy, idle] = [await join(), await join()];
    idle.send(framed({ type: "ping" }));
    await idle.next();
    busy.send(framed({ type: "slow", id: 23 }));
    await until(
      () => server.tally.messages,
      (messages) => messages === 2,
    );
    // In the same turn: it lies in the server's socket, and has not been read.
    idle.send(framed({ type: "ping" }));
    const closing = server.close();
    expect(await idle.rest()).toMatchObject([
      { type: "pong" },
      { code: "SHUTTING_DOWN", closes: true },
    ]);
    expect(await busy.rest()).toMatchObject([
      { type: "slow_done", id: 23 },
      { code: "SHUTTING_DOWN" },
    ]);
    expect(await closing).toEqual({ clients: 2, cutOff: 0 });
    await expect(join()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it("may be asked for twice, and is waited for as long as it takes, if that is what is asked for", async () => {
    const { server, join } = await serve({ handlers: { slow } });
    const peer = await join();
    peer.send(framed({ type: "slow", id: 23 }));
    await until(
      () => server.tally.messages,
      (messages) => messages === 1,
    );
    const ends = [server.close({ drainMs: Infinity }), server.close({ drainMs: Infinity })];
    expect(await peer.next()).toMatchObject({ type: "slow_done", id: 23 });
    expect(await Promise.all(ends)).toEqual([
      { clients: 1, cutOff: 0 },
      { clients: 1, cutOff: 0 },
    ]);
  });

  it("comes after the answers to what arrived while it read something else", async () => {
    const end = (): Message => {
      // What the server reads in this round of its loop is settled already; this is for the next one.
      idle.send(framed({ type: "ping" }));
      closing = server.close();
      return { type: "ending" };
    };
    let closing: Promise<Closing> | undefined;
    const { server, join } = await serve({ handlers: { end } });
    const [busy, idle] = [await join(), await join()];
    busy.send(framed({ type: "end" }));
    expect(await busy.rest()).toMatchObject([{ type: "ending" }, { code: "SHUTTING_DOWN" }]);
    expect(await idle.rest()).toMatchObject([{ type: "pong" }, { code: "SHUTTING_DOWN" }]);
    expect(await closing).toEqual({ clients: 2, cutOff: 0 });
  });

  it("comes after the answers to what arrived while it did not read", async () => {
    const { server, join } = await serve({ handlers: { slow } });
    const peer = await join();
    peer.send(framed({ type: "slow", id: 1 }));
    await until(
      () => server.tally.messages,
      (messages) => messages === 1,
    );
    // The handler is at work: this stays in the kernel.
    peer.send(framed({ type: "ping", id: 2 }));
    const closing = server.close();
    expect(await peer.rest()).toMatchObject([
      { type: "slow_done", id: 1 },
      { type: "pong", id: 2 },
      { code: "SHUTTING_DOWN" },
    ]);
    expect(await closing).toEqual({ clients: 1, cutOff: 0 });
  });

  it("comes after the answers to all that a client has sent who reads them late", async () => {
    const large = () => ({ type: "large", content: "x".repeat(2 ** 22) });
    const limits = { maxFrameBytes: 2 ** 23, maxQueuedBytes: 2 ** 25 };
    const { server, join } = await serve({ ...limits, handlers: { large } });
    const peer = await join();
    peer.socket.pause();
    // Read in one piece; at the first answers the server stops, for nobody takes them.
    peer.send(Buffer.concat(Array.from({ length: 23 }, () => framed({ type: "large" }))));
    await until(
      () => server.tally.messages,
      (messages) => messages > 0,
    );
    const closing = server.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.tally.messages).toBeLessThan(23);
    peer.socket.resume();
    const types = (await peer.rest()).map(({ type }) => type);
    expect(types).toEqual([...Array<string>(23).fill("large"), "error"]);
    expect(await closing).toEqual({ clients: 1, cutOff: 0 });
  });

  it("lets in who has come already, and answers what that one has sent", async () => {
    const { server, port } = await serve();
    // In one turn: the handshake is the kernel's, and nobody has called accept() yet.
    const peer = connect({ host: "127.0.0.1", port });
    let heard = "";
    peer.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    peer.write(framed({ type: "ping" }));
    await new Promise<void>((resolve) => process.nextTick(resolve));
    await server.close();
    await until(
      () => heard,
      (text) => text.includes("SHUTTING_DOWN"),
    );
    expect(heard).toContain('"pong"');
    peer.destroy();
  });

  it("may be asked for by whoever is told of it", async () => {
    const told: string[] = [];
    const server: JsonServer = createJsonServer({
      onEvent: ({ event }) => {
        told.push(event);
        if (event === "shutdown") void server.close();
      },
    });
    await Promise.all(
      [server.listen({ port: 0 }), server.listen({ port: 0 })].map((one) =>
        one.catch(() => undefined),
      ),
    );
    await server.close();
    expect(told).toEqual(["shutdown"]);
  });

  it("is for good: to listen again takes another server", async () => {
    const server = createJsonServer();
    const closed = { code: "SERVER_CLOSED" };
    const beginning = expect(server.listen({ port: 0 })).rejects.toMatchObject(closed);
    await server.close();
    await beginning;
    await expect(server.listen({ port: 0 })).rejects.toMatchObject(closed);
    // Neither of them holds the process.
    expect(process.getActiveResourcesInfo()).not.toContain("TCPServerWrap");
  });

  it("waits for who takes longer than lingerMs to read what is left", async () => {
    const large = { maxFrameBytes: 2 ** 24, maxQueuedBytes: 2 ** 24 };
    const { server, join } = await serve({ lingerMs: 50, ...large });
    const peer = await join();
    peer.socket.pause();
    await until(server.clients, (clients) => clients === 1);
    server.broadcast({ type: "news", content: "x".repeat(15_000_000) } as never);
    const closing = server.close({ drainMs: 20_000 });
    const startMs = performance.now();
    await until(
      () => performance.now() - startMs,
      (ms) => ms > 500,
    );
    peer.socket.resume();
    expect((await peer.rest()).map(({ code, type }) => code ?? type)).toEqual([
      "news",
      "SHUTTING_DOWN",
    ]);
    expect(await closing).toEqual({ clients: 1, cutOff: 0 });
  });

  it("cuts off who does not take its answers in time", async () => {
    const { server, join } = await serve();
    const peer = await join();
    peer.socket.pause();
    for (let n = 0; n < 200; n += 1)
      peer.send(framed({ type: "echo", content: "x".repeat(100_000) }));
    await until(
      () => server.tally.messages,
      (messages) => messages > 10,
    );
    expect(await server.close({ drainMs: 100 })).toEqual({ clients: 1, cutOff: 1 });
  });

  it("counts nobody as cut off who was no client any more", async () => {
    const { server, port } = await serve({ maxConnections: 1, lingerMs: 60_000 });
    // Both keep their side open after the server's FIN.
    const [client, refused] = [1, 2].map(() =>
      connect({ port, host: "127.0.0.1", allowHalfOpen: true }).resume(),
    );
    await until(
      () => server.tally.errors.get("TOO_MANY_CONNECTIONS"),
      (count) => count === 1,
    );
    expect(await server.close({ drainMs: 100 })).toEqual({ clients: 1, cutOff: 1 });
    for (const socket of [client, refused]) socket!.destroy();
  });
});
