import { describe, expect, it } from "vitest";
import { painting } from "./repaint.ts";

const lines = (count: number): string =>
  Array.from({ length: count }, (_, index) => `line ${index + 1}`).join("\n");

describe("painting", () => {
  it("goes back over all lines of a text that fits, and over what Ctrl-C has echoed", () => {
    expect(painting(lines(23), { rows: 24, columns: 80 })).toEqual({
      text: lines(23),
      erase: "\r\u001B[23A\u001B[J",
    });
  });

  it("cuts a text that would scroll, and says how much is missing", () => {
    const { text, erase } = painting(lines(53), { rows: 24, columns: 80 });
    expect(text).toBe(`${lines(22)}\n... 31 more lines`);
    expect(erase).toBe("\r\u001B[23A\u001B[J");
  });

  it("clears the screen where lines may wrap", () => {
    expect(painting("a", { rows: 24, columns: 79 }).erase).toBe("\r\u001B[H\u001B[2J");
  });
});
