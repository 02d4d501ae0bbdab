import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isLoopback, portRange, reuseBy } from "./ports.ts";
import { predictExhaustion } from "./exhaustion.ts";

describe("portRange", () => {
  it("has 28,232 ports by default", () => {
    expect(portRange("32768\t60999", "")).toMatchObject({ low: 32_768, high: 60_999 });
    expect(portRange("32768\t60999", "").ports).toHaveLength(28_232);
  });

  it("leaves the reserved ports out, single and in ranges, and ignores those outside", () => {
    expect(portRange("40000 40009", "8080,40001,40003-40005,40009-50000").ports).toEqual([
      40_000, 40_002, 40_006, 40_007, 40_008,
    ]);
  });

  it("never has more ports than the range is wide", () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    fc.assert(
      fc.property(port, fc.nat(500), fc.array(port), (low, width, reserved) => {
        const { ports } = portRange(`${low} ${low + width}`, reserved.join(","));
        const inside = new Set(reserved.filter((p) => p >= low && p <= low + width));
        return ports.length === width + 1 - inside.size;
      }),
    );
  });
});

describe("isLoopback", () => {
  it.each(["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"])("knows %s", (address) => {
    expect(isLoopback(address)).toBe(true);
  });
  it.each(["128.0.0.1", "10.127.0.1", "::", "0.0.0.0", "127.0.0.1.example.org"])(
    "does not take %s for one",
    (address) => {
      expect(isLoopback(address)).toBe(false);
    },
  );
});

describe("reuseBy", () => {
  const LOOPBACK = "127.0.0.1";
  const REMOTE = "192.0.2.1";
  it.each([
    [0, 1, LOOPBACK, "never"],
    [0, 1, REMOTE, "never"],
    [1, 1, LOOPBACK, "after-delay"],
    [1, 1, REMOTE, "after-delay"],
    [2, 1, LOOPBACK, "after-delay"],
    [2, 1, REMOTE, "never"],
    [1, 0, REMOTE, "never"],
    [2, 0, LOOPBACK, "never"],
    [2, 2, LOOPBACK, "after-delay"],
  ])(
    "tcp_tw_reuse=%i, tcp_timestamps=%i: ports to %s come back %s",
    (mode, timestamps, address, kind) => {
      const reuse = reuseBy({ mode, timestamps, delayMs: 500 }, address);
      expect(reuse).toEqual(kind === "never" ? { kind } : { kind, delayMs: 500, mode });
    },
  );
});

describe("predictExhaustion", () => {
  const base = {
    range: portRange("40000 40999", ""),
    taken: [new Set<number>()],
    lasting: [new Set<number>()],
    closer: "client",
    namesPorts: false,
    reuse: { kind: "never" },
    maxTimeWaits: Infinity,
  } as const;

  it("counts the free ports when TIME_WAIT cannot be shortened, and what they sustain in 60 s", () => {
    const predicted = predictExhaustion(base);
    expect(predicted).toMatchObject({ kind: "certain", capacity: 1_000 });
    expect(predicted).toHaveProperty("sustainablePerSecond", 1_000 / 60);
  });

  it("leaves out ports that are taken, for each destination on its own", () => {
    const taken = [new Set([40_001, 40_002, 8080]), new Set<number>()];
    expect(predictExhaustion({ ...base, taken }).capacity).toBe(1_998);
  });

  it("counts ports that are in TIME_WAIT already for what can be sustained, not for what is free", () => {
    const taken = [new Set([40_001, 40_002, 40_003])];
    const lasting = [new Set([40_001])];
    expect(predictExhaustion({ ...base, taken, lasting })).toEqual({
      kind: "certain",
      capacity: 997,
      waiting: 2,
      missable: 0,
      sustainablePerSecond: 999 / 60,
    });
  });

  it("says of an odd range that connect() may miss one port to each destination, unless ports are named", () => {
    const odd = {
      ...base,
      range: portRange("40000 40022", "40022"),
      taken: [new Set<number>(), new Set<number>()],
    };
    expect(predictExhaustion(base)).toHaveProperty("missable", 0);
    expect(predictExhaustion(odd)).toMatchObject({ capacity: 44, missable: 2 });
    expect(predictExhaustion({ ...odd, namesPorts: true })).toHaveProperty("missable", 0);
  });

  it("predicts a rate, not a number, when ports come back", () => {
    const reuse = { kind: "after-delay", delayMs: 500, mode: 2 } as const;
    expect(predictExhaustion({ ...base, reuse })).toMatchObject({
      kind: "above-rate",
      perSecond: 2_000,
      mode: 2,
    });
  });

  it("predicts no failure where the kernel keeps fewer TIME_WAITs than there are ports", () => {
    const capped = { kind: "capped", capacity: 1_000, maxTimeWaits: 999 };
    expect(predictExhaustion({ ...base, maxTimeWaits: 999 })).toEqual(capped);
    expect(predictExhaustion({ ...base, maxTimeWaits: 1_000 })).toHaveProperty("kind", "certain");
    const taken = [new Set(base.range.ports)];
    const full = { ...base, taken, maxTimeWaits: 23 };
    expect(predictExhaustion(full)).toMatchObject({ kind: "certain", capacity: 0 });
  });

  it("counts what is in TIME_WAIT already against a RST, too", () => {
    const taken = [new Set(base.range.ports)];
    expect(predictExhaustion({ ...base, taken, closer: "reset" })).toEqual({
      kind: "never",
      capacity: 0,
      waiting: 1_000,
      reason: "closed by RST",
    });
  });

  it("predicts no failure when the server closes first, or with RST", () => {
    expect(predictExhaustion({ ...base, closer: "server" })).toMatchObject({ kind: "never" });
    expect(predictExhaustion({ ...base, closer: "reset" })).toMatchObject({ kind: "never" });
  });
});
