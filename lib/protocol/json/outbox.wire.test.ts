import { once } from "node:events";
import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeFrame, FrameDecoder } from "./frames.ts";
import { Outbox } from "./outbox.ts";

const server = createServer();
let from: Socket;
let to: Socket;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  from = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  [to] = (await once(server, "connection")) as [Socket];
});
afterAll(() => {
  from.destroy();
  to.destroy();
  server.close();
});

/** The texts of the next so many bytes that arrive. */
async function arrived(bytes: number): Promise<string[]> {
  const decoder = new FrameDecoder();
  const texts: string[] = [];
  for (let seen = 0; seen < bytes;) {
    const [chunk] = (await once(to, "data")) as [Buffer];
    seen += chunk.length;
    decoder.push(chunk);
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      texts.push(frame.payload.toString("utf8"));
  }
  return texts;
}

describe("an outbox", () => {
  const unit = fc.constantFrom("a", "~", "\u007F", "\u0080", "\u00FF", "\u20AC", "\u{1F40D}");
  const ascii = fc.string({ unit: fc.constantFrom("a", "~", "\u0000") });
  // Of the lengths some are beyond what is written as text, and some beyond what is copied into one buffer.
  const long = fc.constantFrom(127, 128, 255, 256, 16_380, 16_384, 16_385, 70_000);
  const text = fc.oneof(
    fc.string({ unit }),
    ascii,
    long.map((length) => "x".repeat(length)),
  );
  const item = fc.record({ text, isFrame: fc.boolean() });

  it("sends every text and frame whole and in order, whatever they are made of, and says how many bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(item, { minLength: 1, maxLength: 5 }), async (items) => {
        const outbox = new Outbox();
        for (const { text, isFrame } of items) outbox.add(isFrame ? encodeFrame(text) : text);
        const bytes = outbox.writeTo(from);
        expect(bytes).toBe(items.reduce((sum, item) => sum + 4 + Buffer.byteLength(item.text), 0));
        expect(await arrived(bytes)).toEqual(items.map((item) => item.text));
      }),
    );
  });
});
