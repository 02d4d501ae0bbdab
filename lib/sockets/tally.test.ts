import { describe, expect, it } from "vitest";
import { parseSockets } from "./parse.ts";

describe("text that uniq -c has counted", () => {
  it("is taken at its word, without the word of the header", () => {
    const parsed = parseSockets("      7 CLOSE-WAIT\n     16 ESTAB\n      1 State\n      2\n");
    expect(parsed).toMatchObject({
      format: "tally",
      records: [],
      counts: { CLOSE_WAIT: 7, ESTABLISHED: 16 },
      rows: 2,
    });
  });

  it("is read in the order of awk too", () => {
    expect(parseSockets("TIME_WAIT 814\nestablished) 1\nLISTEN 3\n").counts).toMatchObject({
      TIME_WAIT: 814,
      LISTEN: 3,
    });
  });

  it("is doubtful where it says UNCONN, which TCP and UDP share", () => {
    expect(parseSockets("  4 UNCONN\n").notes).toEqual([
      "UNCONN is counted as CLOSE, but may be UDP",
    ]);
  });

  it("is refused where it counts something else", () => {
    expect(() => parseSockets("  4 ESTAB\n  2 WAITING\n")).toThrow(/no known state \(line 2\)/);
  });
});
