import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { ProtocolError } from "./errors.ts";
import { encodeFrame, FrameDecoder, HEADER_BYTES, MAX_FRAME_BYTES } from "./frames.ts";

/** Everything that the decoder gives for a stream that arrives in these chunks. */
function framesIn(chunks: readonly Buffer[], decoder = new FrameDecoder()): Buffer[] {
  const found: Buffer[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      found.push(Buffer.from(frame.payload));
  }
  return found;
}

/** The stream, cut at the given places. */
function cutAt(stream: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [0, ...places.map((place) => place % (stream.length + 1)), stream.length];
  cuts.sort((a, b) => a - b);
  return cuts.slice(1).map((end, index) => stream.subarray(cuts[index], end));
}

describe("frames", () => {
  it("start with the length in four bytes, big-endian", () => {
    expect(encodeFrame('{"type":"ping"}').subarray(0, 5).toString("hex")).toBe("0000000f7b");
    expect(encodeFrame("é").toString("hex")).toBe("00000002c3a9");
    expect(encodeFrame(Buffer.from("ab"), true).toString("hex")).toBe("800000026162");
  });

  it("come out as they went in, however the network splits the bytes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 9_000 }), { maxLength: 23 }),
        fc.array(fc.nat(), { maxLength: 40 }),
        (payloads, places) => {
          const sent = payloads.map((payload) => Buffer.from(payload));
          const stream = Buffer.concat(sent.map((payload) => encodeFrame(payload)));
          expect(framesIn(cutAt(stream, places))).toEqual(sent);
        },
      ),
    );
  });

  it("come out of single bytes, too", () => {
    const stream = Buffer.concat([encodeFrame("one"), encodeFrame(""), encodeFrame("three")]);
    expect(framesIn([...stream].map((byte) => Buffer.of(byte))).map(String)).toEqual([
      "one",
      "",
      "three",
    ]);
  });

  it("that are too large are refused from their length alone", () => {
    for (const header of ["00100001", "7fffffff", "80100001", "ffffffff"]) {
      for (const chunks of [
        [Buffer.from(header, "hex")],
        [...Buffer.from(header, "hex")].map((byte) => Buffer.of(byte)),
      ])
        expect(() => framesIn(chunks), header).toThrow(
          expect.objectContaining({ name: "ProtocolError", code: "FRAME_TOO_LARGE" }),
        );
    }
    const largest = Buffer.alloc(MAX_FRAME_BYTES, 1);
    expect(framesIn([encodeFrame(largest)])[0]!.equals(largest)).toBe(true);
  });

  it.each([
    ["HTTP/1.1 400 Bad Request", 'a length of 1213486160: these bytes are the text "HTTP"'],
    ["SSH-2.0-OpenSSH_9.6", 'a length of 1397966893: these bytes are the text "SSH-"'],
    ["\x16\x03\x01\x02\x00\x01", "a length of 369295618: this is how TLS begins"],
    ["\x7F\xFF\xFF\xFF", "a length of 2147483647"],
  ])("say what they look like when they are another protocol's: %j", (bytes, what) => {
    expect(() => framesIn([Buffer.from(bytes, "latin1")])).toThrow(new RegExp(`${what}$`));
  });

  it("cost memory only for what has arrived, not for what was announced", () => {
    const before = process.memoryUsage().arrayBuffers;
    const decoders = Array.from({ length: 1_000 }, () => new FrameDecoder());
    for (const decoder of decoders) framesIn([Buffer.from("0010000041", "hex")], decoder);
    // 1,000 announced mebibytes; the smallest stash is 4 KiB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000 * 8_192);
    expect(decoders.every((decoder) => decoder.pendingBytes === HEADER_BYTES + 1)).toBe(true);
  });

  it("that arrive byte by byte are copied a constant number of times", () => {
    const size = 200_000;
    const stream = encodeFrame(Buffer.alloc(size, 7));
    const copy = vi.spyOn(Buffer.prototype as Buffer, "copy");
    const chunks = cutAt(
      stream,
      Array.from({ length: size }, (_, place) => place),
    );
    expect(framesIn(chunks)).toHaveLength(1);
    const copied = copy.mock.results.reduce((sum, { value }) => sum + (value as number), 0);
    copy.mockRestore();
    expect(copied).toBeGreaterThan(size);
    expect(copied).toBeLessThan(4 * size);
  });

  it("never make the decoder throw anything but a ProtocolError", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
        try {
          framesIn(
            chunks.map((chunk) => Buffer.from(chunk)),
            new FrameDecoder(32),
          );
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });
});
