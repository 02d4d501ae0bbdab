import { afterEach, describe, expect, it } from "vitest";
import { openDescriptors, processStatus } from "../lib/kernel/process.ts";
import { fuzz } from "../lib/testing/fuzz.ts";
import { killAll, startServer, until } from "../lib/testing/programs.ts";
import { framed, rawPeer } from "../lib/testing/raw-peer.ts";

afterEach(killAll);

const INPUTS = Number(process.env["FUZZ_INPUTS"] ?? 100_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? 23);

describe("a server under malformed input", () => {
  it(`survives ${INPUTS} inputs of seed ${SEED}: memory flat, descriptors back, other clients unharmed`, async () => {
    const server = await startServer(["--protocol", "json"]);
    // The first ones warm it up: code is compiled, the heap takes its size.
    await fuzz(server.port, 20_000, SEED + 1);
    const before = await until(
      () => openDescriptors(server.pid),
      (many) => many < 40,
    );
    const rssBefore = processStatus(server.pid).rssBytes;
    const result = await fuzz(server.port, INPUTS, SEED);
    expect(result.inputs).toBe(INPUTS);
    expect(result.exchanges).toBeGreaterThan(23);
    for (const code of [
      "FRAME_EMPTY",
      "FRAME_TOO_LARGE",
      "NOT_NEGOTIATED",
      "BAD_COMPRESSION",
      "INFLATED_TOO_LARGE",
      "BAD_UTF8",
      "BAD_JSON",
      "NOT_AN_OBJECT",
      "TYPE_MISSING",
      "BAD_FIELD",
      "UNKNOWN_TYPE",
    ])
      expect(result.answers[code], code).toBeGreaterThan(0);
    await until(
      () => openDescriptors(server.pid),
      (many) => many <= before,
    );
    const grownBytes = processStatus(server.pid).rssBytes - rssBefore;
    // V8 lets its heap grow by some 20 MiB before the first full collection; with 1,500,000 inputs it is no more than that.
    expect(grownBytes, "resident memory").toBeLessThan(32 * 1_048_576);
    const peer = await rawPeer(server.port);
    peer.send(framed({ type: "ping", id: 23 }));
    expect(await peer.next()).toMatchObject({ type: "pong", id: 23 });
    peer.destroy();
    expect(server.child.exitCode).toBeNull();
  }, 120_000);
});
