import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checkedValues,
  choice,
  flag,
  FlagError,
  integer,
  optional,
  toggle,
  words,
} from "./flags.ts";

const flags = {
  count: flag(integer(1, 100), 5, { about: "", metavar: "N", env: "COUNT" }),
  leak: toggle({ about: "", env: "LEAK" }),
  leave: flag(choice("end", "reset"), "end", { about: "", metavar: "HOW" }),
  port: optional(integer(1, 65_535), { about: "", metavar: "N" }),
};

describe("checkedValues", () => {
  it("takes the command line before the environment, and the environment before the default", () => {
    expect(checkedValues(flags, { count: "7" }, { COUNT: "9" }).count).toBe(7);
    expect(checkedValues(flags, {}, { COUNT: "9" }).count).toBe(9);
    expect(checkedValues(flags, {}, {}).count).toBe(5);
    expect(checkedValues(flags, {}, {}).port).toBeUndefined();
  });

  it("takes an empty variable for an unset one", () => {
    expect(checkedValues(flags, {}, { COUNT: "", LEAK: "" })).toMatchObject({
      count: 5,
      leak: false,
    });
  });

  it.each([
    ["true", true],
    ["1", true],
    ["YES", true],
    ["false", false],
    ["0", false],
    ["off", false],
  ])("reads LEAK=%s as %s", (text, value) => {
    expect(checkedValues(flags, {}, { LEAK: text }).leak).toBe(value);
  });

  it("names the flag, or the variable, that is wrong, and what was expected", () => {
    expect(() => checkedValues(flags, { count: "0" }, {})).toThrow(
      '--count: expected a whole number from 1 to 100, got "0"',
    );
    expect(() => checkedValues(flags, {}, { COUNT: "many" })).toThrow(
      'COUNT: expected a whole number from 1 to 100, got "many"',
    );
    expect(() => checkedValues(flags, { leave: "later" }, {})).toThrow(
      "expected one of end, reset",
    );
    expect(() => checkedValues(flags, {}, { LEAK: "maybe" })).toThrow(FlagError);
  });
});

describe("integer", () => {
  const check = integer(-1_000_000, 1_000_000);

  it("reads every whole number in its range back", () => {
    fc.assert(
      fc.property(fc.integer({ min: -1_000_000, max: 1_000_000 }), (n) => check(String(n)) === n),
    );
  });

  it("refuses everything else instead of guessing", () => {
    for (const text of ["", " 1", "1.5", "1e3", "0x10", "NaN", "1,000", "--1", "१"])
      expect(() => check(text)).toThrow("whole number");
  });

  it("takes 10_000 for 10000", () => {
    expect(check("10_000")).toBe(10_000);
  });
});

describe("words", () => {
  it("refuses nothing at all", () => {
    expect(() => words("")).toThrow("expected some text");
    expect(words("hello")).toBe("hello");
  });
});
