import { describe, expect, it } from "vitest";
import { atLeast, atMost, between, checkClaim, exactly } from "./claim.ts";
import { armVerdict, labVerdict, type ArmResult } from "./result.ts";

const resets = { counter: "TcpOutRsts", value: 4, because: "a RST ended a TIME_WAIT" };

describe("checkClaim", () => {
  it("holds when predicted equals measured, and carries no explanation then", () => {
    expect(checkClaim({ text: "t", expected: exactly(23) }, 23, resets)).toEqual({
      text: "t",
      predicted: 23,
      measured: 23,
      held: true,
    });
  });

  it("fails on any difference that no counter explains", () => {
    expect(checkClaim({ text: "t", expected: exactly(23) }, 24).held).toBe(false);
    expect(checkClaim({ text: "t", expected: exactly("EMFILE") }, "none").held).toBe(false);
  });

  it("accepts a difference only as far as the counter goes", () => {
    expect(checkClaim({ text: "t", expected: exactly(1000) }, 1004, resets)).toMatchObject({
      held: true,
      explained: resets,
    });
    expect(checkClaim({ text: "t", expected: exactly(1000) }, 1005, resets).held).toBe(false);
    expect(checkClaim({ text: "t", expected: exactly(1000) }, 995, resets).held).toBe(false);
  });

  it("accepts what lies beyond a bound only as far as the counter goes", () => {
    const prediction = { text: "t", expected: atMost(10) };
    expect(checkClaim(prediction, 14, resets)).toMatchObject({ held: true, explained: resets });
    expect(checkClaim(prediction, 15, resets).held).toBe(false);
  });

  it.each([
    [atLeast(3), 3, true, "at least 3"],
    [atLeast(3), 2, false, "at least 3"],
    [atMost(3), 4, false, "at most 3"],
    [between(1, 1000), 495, true, "1 to 1,000"],
  ])("checks bounds: %j against %d", (expected, measured, held, predicted) => {
    expect(checkClaim({ text: "t", expected }, measured)).toMatchObject({ held, predicted });
  });
});

describe("verdicts", () => {
  const arm: ArmResult = {
    kind: "broken",
    about: "",
    verdict: "held",
    settings: [],
    rules: [],
    claims: [checkClaim({ text: "t", expected: exactly(1) }, 1)],
    notes: [],
    timeline: [],
    durationMs: 1,
    leftBehind: [],
  };

  it("fail an arm that made no claim, broke off, or left something behind", () => {
    expect(armVerdict(arm, false)).toBe("held");
    expect(armVerdict({ ...arm, claims: [] }, false)).toBe("failed");
    expect(armVerdict({ ...arm, reason: "crashed" }, false)).toBe("failed");
    expect(armVerdict({ ...arm, leftBehind: ["1 node"] }, true)).toBe("failed");
  });

  it("skip a lab only when none of its arms could run", () => {
    expect(labVerdict([arm, { ...arm, verdict: "skipped" }])).toBe("held");
    expect(labVerdict([{ ...arm, verdict: "skipped" }])).toBe("skipped");
    expect(labVerdict([arm, { ...arm, verdict: "failed" }])).toBe("failed");
  });
});
