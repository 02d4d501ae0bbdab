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

  it("keeps every byte of text that is no UTF-8", () => {
    expect(decodeText(Buffer.from([0x41, 0x42, 0x48, 0x99, 0x52]))).toBe("ABH\u0099R");
  });

  it("joins a character that two pieces share", () => {
    const decoder = new ByteDecoder();
    const bytes = Buffer.from("aÖb");
    expect(
      decoder.push(bytes.subarray(0, 2)) + decoder.push(bytes.subarray(2)) + decoder.finish(),
    ).toBe("aÖb");
  });
});
