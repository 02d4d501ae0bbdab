/** Each code once, from outside: the bytes that bring it about, and every byte of what comes back. */
import { once } from "node:events";
import { connect } from "node:net";
import { deflateSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { framed } from "../../testing/raw-peer.ts";
import { PROTOCOL_ERRORS, type ProtocolErrorCode } from "./errors.ts";
import { createJsonServer, type JsonServer, type JsonServerOptions } from "./server.ts";

const servers: JsonServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ drainMs: 0 });
});

type Case = {
  /** In hexadecimal, blanks do not count; then FIN. */
  readonly sent: string;
  /** What is answered before the error, by type. */
  readonly before?: readonly string[];
  readonly id?: string | number;
  readonly options?: JsonServerOptions;
  /** No FIN: the server has to act by itself. */
  readonly stays?: true;
  readonly meanwhile?: (server: JsonServer) => Promise<unknown>;
};

const hex = (message: unknown): string => framed(message).toString("hex");
const HELLO = hex({ type: "hello", compression: ["deflate"] });
const packed = (bytes: number): string => {
  const payload = deflateSync(Buffer.alloc(bytes, " "));
  return (payload.length + 0x8000_0000).toString(16) + payload.toString("hex");
};
const defect = (): never => {
  throw new Error("a defect");
};

const CASES: Readonly<Record<ProtocolErrorCode, Case>> = {
  FRAME_EMPTY: { sent: "00000000" },
  FRAME_TOO_LARGE: { sent: "00100001" },
  NOT_NEGOTIATED: { sent: "80000004 789c0300" },
  BAD_COMPRESSION: { sent: `${HELLO} 80000004 deadbeef`, before: ["hello_response"] },
  INFLATED_TOO_LARGE: { sent: HELLO + packed(1_048_577), before: ["hello_response"] },
  BAD_UTF8: { sent: "00000003 22ff22" },
  BAD_JSON: { sent: "00000001 7b" },
  NOT_AN_OBJECT: { sent: "00000002 5b5d" },
  TYPE_MISSING: { sent: hex({ id: 23 }), id: 23 },
  UNKNOWN_TYPE: { sent: hex({ type: "nobody", id: "a" }), id: "a" },
  BAD_FIELD: { sent: hex({ type: "echo", content: 23, id: 7 }), id: 7 },
  TOO_MANY_ERRORS: {
    sent: "00000000",
    before: ["error"],
    options: { maxErrorsInARow: 0 },
  },
  UNAUTHENTICATED: { sent: hex({ type: "ping", id: 1 }), id: 1, options: { authToken: "t" } },
  AUTHENTICATION_FAILED: {
    sent: hex({ type: "auth", token: "T", id: 2 }),
    id: 2,
    options: { authToken: "t" },
  },
  AUTHENTICATION_TIMEOUT: {
    sent: "",
    options: { authToken: "t", authTimeoutMs: 40 },
    stays: true,
  },
  RATE_LIMITED: {
    sent: hex({ type: "ping" }) + hex({ type: "ping", id: 3 }),
    before: ["pong"],
    id: 3,
    options: { ratePerSecond: 20, rateBurst: 1 },
  },
  TOO_MANY_CONNECTIONS: { sent: "", options: { maxConnections: 0 }, stays: true },
  IDLE_TIMEOUT: { sent: "", options: { idleTimeoutMs: 40 }, stays: true },
  HEARTBEAT_TIMEOUT: {
    sent: "",
    before: ["ping"],
    options: { heartbeatMs: 40, heartbeatTimeoutMs: 40 },
    stays: true,
  },
  SLOW_CONSUMER: {
    sent: "",
    options: { maxQueuedBytes: 10 },
    stays: true,
    meanwhile: async (server) => {
      while (server.clients() === 0) await new Promise((resolve) => setImmediate(resolve));
      server.broadcast({ type: "news" });
    },
  },
  SHUTTING_DOWN: {
    sent: hex({ type: "ping" }),
    before: ["pong"],
    stays: true,
    meanwhile: async (server) => {
      while (server.tally.messages === 0) await new Promise((resolve) => setImmediate(resolve));
      await server.close();
    },
  },
  INTERNAL: { sent: hex({ type: "bad", id: 4 }), id: 4, options: { handlers: { bad: defect } } },
};

/** Payloads of whole frames; throws when something is left over. */
function payloads(bytes: Buffer): Buffer[] {
  const found = [];
  let at = 0;
  while (at < bytes.length) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length)
      throw new Error(`a frame is cut: ${bytes.subarray(at).toString("hex")}`);
    found.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return found;
}

describe("every error", () => {
  it.each(Object.entries(CASES))(
    "%s comes as these bytes, and is the last",
    async (code, given) => {
      const { sent, before = [], id, options, stays, meanwhile } = given;
      const server = createJsonServer({ lingerMs: 100, ...options });
      servers.push(server);
      const { port } = await server.listen({ port: 0 });
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      await once(socket, "connect");
      socket.write(Buffer.from(sent.replaceAll(" ", ""), "hex"));
      if (stays === undefined) socket.end();
      const ended = once(socket, "end");
      await meanwhile?.(server);
      await ended;
      socket.end();
      const all = payloads(Buffer.concat(chunks));
      const last = all.pop()!.toString();
      expect(all.map((each) => (JSON.parse(each.toString()) as { type: string }).type)).toEqual(
        before,
      );
      const { message } = JSON.parse(last) as { message: string };
      const { closes } = PROTOCOL_ERRORS[code as ProtocolErrorCode];
      expect(message).toMatch(/^[\x20-\x7e]{10,200}$/);
      expect(last).toBe(JSON.stringify({ type: "error", code, message, closes, id }));
    },
  );

  it("names no more of a bad text than its first character: it may be half a token", async () => {
    const told: unknown[] = [];
    const server = createJsonServer({ onEvent: (event) => told.push(event) });
    servers.push(server);
    const { port } = await server.listen({ port: 0 });
    const socket = connect(port, "127.0.0.1").end(framed('{"type":"auth","token":"secret'));
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(socket, "close");
    expect(Buffer.concat(chunks).toString()).toContain("BAD_JSON");
    expect(JSON.stringify(told)).toContain("BAD_JSON");
    expect(JSON.stringify(told) + Buffer.concat(chunks).toString()).not.toContain("secret");
  });
});
