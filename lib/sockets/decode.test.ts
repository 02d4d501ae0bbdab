import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteDecoder, decodeText } from "./decode.ts";

describe("decodeText", () => {
  it("reads ASCII and UTF-8", () => {
    expect(decodeText(Buffer.from("tcp 0 0"))).toBe("tcp 0 0");
    expect(decodeText(Buffer.from("ABHÖREN"))).toBe("ABHÖREN");
  });

  it("reads what PowerShell redirects: UTF-16 with and without a byte order mark", () => {
    expect(decodeText(Buffer.from("\uFEFFTCP 1", "utf16le"))).toBe("TCP 1");
    expect(decodeText(Buffer.from("TCP 1", "utf16le"))).toBe("TCP 1");
  });

  it("takes the no-break spaces of web pages and chats for blanks", () => {
    const copied = "LISTEN\u00A00\u00A0\u00A0128";
    expect(decodeText(Buffer.from(copied))).toBe("LISTEN 0  128");
    expect(decodeText(Buffer.from(copied, "utf16le"))).toBe("LISTEN 0  128");
  });

  it("keeps every byte of text that is no UTF-8", () => {
    expect(decodeText(Buffer.from([0x41, 0x42, 0x48, 0x99, 0x52]))).toBe("ABH\u0099R");
  });

  it("reads a table in any encoding, however its bytes are cut", () => {
    const line = fc.string({
      unit: fc.constantFrom("t", "0", " ", "Ö", "€", "𝄞", "\n"),
      maxLength: 40,
    });
    const encodings = fc.constantFrom(
      (text: string) => Buffer.from(text),
      (text: string) => Buffer.from(`\uFEFF${text}`),
      (text: string) => Buffer.from(`\uFEFF${text}`, "utf16le"),
      (text: string) => Buffer.from(`\uFEFF${text}`, "utf16le").swap16(),
      (text: string) => Buffer.from(text, "utf16le"),
      (text: string) => Buffer.from(text, "utf16le").swap16(),
    );
    fc.assert(
      fc.property(line, encodings, fc.integer({ min: 1, max: 9 }), (text, encode, size) => {
        expect(inPieces(encode(`TCP ${text}`), size)).toBe(`TCP ${text}`);
      }),
    );
  });

  it("loses no byte of what is in no known encoding, however it is cut", () => {
    const byte = fc.constantFrom(0x41, 0x80, 0x99, 0xc3, 0xe2, 0xf0, 0xff);
    fc.assert(
      fc.property(fc.array(byte), fc.integer({ min: 1, max: 5 }), (bytes, size) => {
        // 0xFF alone is in no UTF-8: all behind it is Latin-1, byte for byte.
        const text = inPieces(Uint8Array.from([0x54, 0x43, 0x50, 0x20, 0xff, ...bytes]), size);
        expect(text).toBe(`TCP \u00FF${Buffer.from(bytes).toString("latin1")}`);
      }),
    );
    expect(decodeText(Uint8Array.of(0x54, 0x43, 0x50, 0x20, 0xc3))).toBe("TCP \u00C3");
  });

  it("joins a character that two pieces share", () => {
    const decoder = new ByteDecoder();
    const bytes = Buffer.from("aÖb");
    expect(
      decoder.push(bytes.subarray(0, 2)) + decoder.push(bytes.subarray(2)) + decoder.finish(),
    ).toBe("aÖb");
  });
});

function inPieces(bytes: Uint8Array, size: number): string {
  const decoder = new ByteDecoder();
  let text = "";
  for (let at = 0; at < bytes.length; at += size)
    text += decoder.push(bytes.subarray(at, at + size));
  return text + decoder.finish();
}
