import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { measuredIn } from "./claims-page.ts";
import { CLAIMS } from "./claims.ts";

const recorded = (name: string): string =>
  readFileSync(new URL(`concepts/claims/${name}.txt`, import.meta.url), "utf8").trimEnd();

describe("claims", () => {
  it("have verdicts that what was recorded bears out", () => {
    for (const claim of CLAIMS) expect(measuredIn(claim, recorded(claim.name))).not.toBe("");
  });

  it.each([
    ["syn-queue", "  8 to 9               9  ok", "  8 to 9              12  ok"],
    ["accept-queue", "LISTEN 8 ", "LISTEN 7 "],
    ["receive-buffer", "rb131072", "rb87380"],
    ["fin-wait-2", "FIN_WAIT2        0", "FIN_WAIT2        5"],
    ["time-wait-flood", "EADDRNOTAVAIL", "ECONNREFUSED"],
    ["soft-limit", '"limit":20000', '"limit":256'],
  ])("refuse a session that speaks against the verdict: %s", (name, was, instead) => {
    const claim = CLAIMS.find((one) => one.name === name);
    const text = recorded(name);
    expect(text).toContain(was);
    if (claim === undefined) throw new Error(name);
    expect(() => measuredIn(claim, text.replaceAll(was, instead))).toThrow(`claim ${name}: `);
  });
});
