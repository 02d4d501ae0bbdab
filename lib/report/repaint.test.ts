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

  it("cuts lines that would wrap, by what is seen of them, and leaves the others their colours", () => {
    const [short, long] = [
      "\u001B[1m23 columns of one line!\u001B[22m",
      "23 columns and some more",
    ];
    const { text, erase } = painting(`${short}\n${long}`, { rows: 24, columns: 23 });
    expect(text).toBe(`${short}\n23 columns and some mor`);
    expect(erase).toBe("\r\u001B[2A\u001B[J");
  });
});
