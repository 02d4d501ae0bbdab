import { isUtf8 } from "node:buffer";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ProtocolError, type ProtocolErrorCode } from "./errors.ts";
import { FrameDecoder, type Frame } from "./frames.ts";
import {
  checkRequest,
  decodeMessage,
  encodeMessage,
  PLAIN,
  type Message,
  type Packing,
} from "./messages.ts";

const DEFLATING: Packing = { ...PLAIN, deflate: true, deflateFromBytes: 100 };

function frameOf(text: string | Buffer, isCompressed = false): Frame {
  return { payload: Buffer.from(text as string), isCompressed };
}

function onTheWire(bytes: Buffer): Frame {
  const decoder = new FrameDecoder();
  decoder.push(bytes);
  return decoder.next()!;
}

function codeOf(action: () => unknown): ProtocolErrorCode | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return undefined;
}

describe("messages", () => {
  it("come out as they went in, packed or not", () => {
    const message = fc.record({
      type: fc.constant("custom"),
      id: fc.nat(),
      content: fc.jsonValue(),
    });
    fc.assert(
      fc.property(message, fc.boolean(), (sent, deflate) => {
        const packing = { ...DEFLATING, deflate };
        const received = decodeMessage(onTheWire(encodeMessage(sent, packing)), packing);
        expect(received).toEqual(JSON.parse(JSON.stringify(sent)));
      }),
    );
  });

  it.each<[ProtocolErrorCode, string | Buffer]>([
    ["FRAME_EMPTY", ""],
    ["BAD_UTF8", Buffer.from("7b22c328", "hex")],
    ["BAD_UTF8", Buffer.from("7bff7d", "hex")],
    ["BAD_JSON", "{"],
    ["BAD_JSON", "\uFEFF{}"],
    ["NOT_AN_OBJECT", "[]"],
    ["NOT_AN_OBJECT", "null"],
    ["NOT_AN_OBJECT", '"ping"'],
    ["TYPE_MISSING", "{}"],
    ["TYPE_MISSING", '{"type":7}'],
    ["TYPE_MISSING", '{"type":""}'],
    ["BAD_FIELD", '{"type":"ping","id":{}}'],
  ])("%s: %s", (code, payload) => {
    expect(codeOf(() => decodeMessage(frameOf(payload)))).toBe(code);
  });

  it("are refused when their bytes are no UTF-8, and only then: a U+FFFD may have been sent", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 8 }).map((array) => Buffer.from(array)),
      fc
        .string({ unit: fc.constantFrom("a", "\uFFFD", "\u00E9", "\u{1F40D}") })
        .map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(bytes, (inner) => {
        const payload = Buffer.concat([Buffer.from('{"type":"'), inner, Buffer.from('"}')]);
        const code = codeOf(() => decodeMessage({ payload, isCompressed: false }));
        expect(code === "BAD_UTF8").toBe(!isUtf8(payload));
      }),
    );
  });

  it("say which field is wrong, and how", () => {
    const wrong: [Message, string][] = [
      [{ type: "echo" }, "echo.content: expected a string, got nothing"],
      [{ type: "echo", content: null }, "echo.content: expected a string, got null"],
      [{ type: "ping", timestamp: 7 }, "ping.timestamp: expected a string, got number"],
      [
        { type: "hello", compression: "deflate" },
        "hello.compression: expected an array of strings, got string",
      ],
    ];
    for (const [message, text] of wrong) expect(() => checkRequest(message)).toThrow(text);
    expect(() => checkRequest({ type: "constructor" })).not.toThrow();
    expect(() => checkRequest({ type: "ping", newer: [] })).not.toThrow();
  });

  it("survive any payload with nothing but a ProtocolError, however deep it is nested", () => {
    fc.assert(
      fc.property(
        fc.uint8Array(),
        (bytes) => void codeOf(() => decodeMessage(frameOf(Buffer.from(bytes)))),
      ),
    );
    expect(codeOf(() => decodeMessage(frameOf("[".repeat(500_000))))).toBe("BAD_JSON");
    const deep = `{"type":"x","content":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
    expect(codeOf(() => decodeMessage(frameOf(deep)))).toBeUndefined();
  });
});

describe("compression", () => {
  it("is used only when agreed upon, and only when it helps", () => {
    const long = { type: "echo", content: "x".repeat(5_000) };
    expect(encodeMessage(long).readUInt32BE(0)).toBe(JSON.stringify(long).length);
    expect(encodeMessage(long, DEFLATING).length).toBeLessThan(100);
    expect(encodeMessage({ type: "ping" }, DEFLATING).readUInt32BE(0)).toBe(15);
    const packed = deflateSync('{"type":"ping"}');
    expect(codeOf(() => decodeMessage(frameOf(packed, true)))).toBe("NOT_NEGOTIATED");
    expect(decodeMessage(frameOf(packed, true), DEFLATING)).toEqual({ type: "ping" });
  });

  it("never inflates past the limit", () => {
    const bomb = deflateSync(Buffer.alloc(100 * PLAIN.maxFrameBytes));
    expect(bomb.length).toBeLessThan(PLAIN.maxFrameBytes);
    const before = process.memoryUsage().arrayBuffers;
    expect(codeOf(() => decodeMessage(frameOf(bomb, true), DEFLATING))).toBe("INFLATED_TOO_LARGE");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10 * PLAIN.maxFrameBytes);
  });

  it.each(["", "no zlib at all", "x\x9c"])("refuses what zlib did not make: %j", (text) => {
    expect(codeOf(() => decodeMessage(frameOf(text, true), DEFLATING))).toBe("BAD_COMPRESSION");
  });
});
