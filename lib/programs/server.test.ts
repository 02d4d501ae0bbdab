import { describe, expect, it } from "vitest";
import { restAfterLookMs } from "./server.ts";

describe("the rest between two looks of a server at itself", () => {
  it("is what the user has asked for, as long as looks are short", () => {
    expect(restAfterLookMs(3, 1_000)).toBe(1_000);
    expect(restAfterLookMs(3, 2_000_000)).toBe(2_000_000);
  });

  it("is fifty times as long as a look that takes long", () => {
    expect(restAfterLookMs(23, 1_000)).toBe(1_150);
  });

  it("never leaves figures of a busy moment standing for more than 5 s", () => {
    expect(restAfterLookMs(800, 1_000)).toBe(5_000);
  });
});
