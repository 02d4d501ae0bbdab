import { describe, expect, it } from "vitest";
import type { Contest } from "./contest.ts";
import { turns } from "./turns.ts";

function contest(name: string, runs: number): Contest {
  return { name, runs, load: { full: 23, quick: 1 }, contestants: {}, lines: [] };
}

const [often, seldom, once] = [contest("often", 5), contest("seldom", 3), contest("once", 1)];
const order = turns([often, seldom, once], ({ runs }) => runs);

describe("the order of rounds", () => {
  it("has every round of every contest, each contest's in their order", () => {
    for (const { name, runs } of [often, seldom, once]) {
      const rounds = order.filter(({ contest: { name: other } }) => other === name);
      expect(rounds.map(({ round }) => round)).toEqual(
        Array.from({ length: runs }, (_, index) => index + 1),
      );
      expect(rounds.every((turn) => turn.rounds === runs)).toBe(true);
    }
  });

  it("spreads those of each contest over the whole", () => {
    expect(order.map(({ contest: { name } }) => name).join(" ")).toBe(
      "often seldom often often seldom once often seldom often",
    );
  });
});
