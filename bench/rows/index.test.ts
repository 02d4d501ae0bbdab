import { describe, expect, it } from "vitest";
import { keyOf } from "../lib/against.ts";
import { CONTESTS } from "./index.ts";

describe("the lines of all contests", () => {
  it("can be told apart, so that each is found again in a recording", () => {
    const keys = CONTESTS.flatMap(({ name, lines }) =>
      lines.map(({ what, peer }) => keyOf({ contest: name, what, peer })),
    );
    expect(keys.filter((key, index) => keys.indexOf(key) !== index)).toEqual([]);
  });
});
