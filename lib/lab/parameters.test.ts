import { describe, expect, it } from "vitest";
import type { Lab } from "./define.ts";
import { parameterValues } from "./parameters.ts";

const lab = {
  name: "small",
  params: { clients: [23, "clients"], ports: [46, "ports", [2, 2_000, 2]] },
} as unknown as Lab;

describe("the parameters of a lab", () => {
  it("have their defaults; a value for a parameter of another lab is none of theirs", () => {
    expect(parameterValues(lab, { ports: 4, others: -1 })).toEqual({ clients: 23, ports: 4 });
  });

  it.each([
    ["clients", NaN, "small: clients: expected a whole number from 1 to 500, got NaN"],
    ["clients", 2.5, "small: clients: expected a whole number from 1 to 500, got 2.5"],
    ["clients", "23", "small: clients: expected a whole number from 1 to 500, got 23"],
    ["ports", 2_002, "small: ports: expected a multiple of 2 from 2 to 2000, got 2002"],
    ["ports", 3, "small: ports: expected a multiple of 2 from 2 to 2000, got 3"],
  ])("%s are refused as %s: %s", (name, value, message) => {
    expect(() => parameterValues(lab, { [name]: value as number })).toThrow(
      new RangeError(message),
    );
  });
});
