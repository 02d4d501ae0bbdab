import { describe, expect, it } from "vitest";
import { Throttle } from "./rate.ts";

const passed = (throttle: Throttle, nowMs: number, messages: number): number =>
  Array.from({ length: messages }, () => throttle.pass(nowMs)).filter(Boolean).length;

describe("a throttle", () => {
  it("lets a burst pass, then as many as the time that has gone by allows", () => {
    const throttle = new Throttle({ perSecond: 10, burst: 5 }, 0);
    expect(passed(throttle, 0, 9)).toBe(5);
    expect(passed(throttle, 300, 9)).toBe(3);
  });

  it("lets no more than a burst pass, however long it was quiet before", () => {
    const throttle = new Throttle({ perSecond: 10, burst: 5 }, 0);
    expect(passed(throttle, 3_600_000, 23)).toBe(5);
  });
});
