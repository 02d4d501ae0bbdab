import { describe, expect, it } from "vitest";
import type { ArmResult } from "../lab/result.ts";
import { armOutcome, predictionLine, rulesLines, settingLine, theme } from "./lab-report.ts";

const plain = theme(false);
const because = "limit 128 - 23 open before, and many more words ".repeat(3).trim();
const claim = { text: "CLOSE_WAIT", predicted: 105, measured: 105, held: true, because };
const arm: ArmResult = {
  kind: "broken",
  about: "a leak",
  verdict: "held",
  settings: [],
  rules: [],
  claims: [claim, { text: "RSTs", predicted: 0, measured: 0, held: true }],
  notes: [],
  timeline: [],
  durationMs: 1,
  leftBehind: [],
};

function lines(text: string): string[] {
  const all = text.split("\n");
  expect(all.filter((line) => line.length > 80)).toEqual([]);
  return all;
}

describe("the reason for a prediction", () => {
  it("stands below its claim, over the whole width", () => {
    const [head, row, ...rest] = lines(armOutcome(arm, plain));
    expect(head).toMatch(/^ +predicted +measured$/);
    expect(row).toMatch(/^ {2}CLOSE_WAIT +105 +105 {2}ok$/);
    const end = rest.findIndex((line) => line.startsWith("  RSTs"));
    expect(rest.slice(0, end).every((line) => line.startsWith("    "))).toBe(true);
    expect(rest.slice(0, end).join(" ").replaceAll(/ +/g, " ").trim()).toBe(because);
  });

  it("is said once: before the run, or below the claim", () => {
    const [first, second] = lines(predictionLine(claim, plain));
    expect(first).toMatch(/^ {2}predicted 105: CLOSE_WAIT \(limit 128 /);
    expect(second).toMatch(/^ {6}\w/);
    expect(armOutcome(arm, plain, true)).not.toContain("limit 128");
  });
});

describe("what an arm has set", () => {
  it("says what was there before, and whose it is", () => {
    const name = "net.ipv4.tcp_tw_reuse";
    expect(settingLine({ name, before: "2", value: "0" }, plain)).toBe(
      "  net.ipv4.tcp_tw_reuse = 0 (was 2)",
    );
    expect(settingLine({ name, before: "", value: "7", host: "router" }, plain)).toBe(
      "  router: net.ipv4.tcp_tw_reuse = 7 (was empty)",
    );
    expect(settingLine({ name, before: "2", value: "2" }, plain)).toMatch(/ = 2 \(as before\)$/);
  });

  it("has each rule on a line, and what does not fit into it further in", () => {
    const rule = "tcp flags & (syn | ack) == syn ".repeat(4) + "drop";
    const [first, second, third, ...rest] = lines(
      rulesLines({ hook: "input", lines: [rule, "counter"] }, plain),
    );
    expect(first).toMatch(/^ {2}nft input: tcp flags/);
    expect(second).toMatch(/^ {6}\S.* drop$/);
    expect([third, ...rest]).toEqual(["  nft input: counter"]);
    expect(rulesLines({ hook: "input", lines: [] }, plain)).toBe("  nft input: taken away again");
  });
});
