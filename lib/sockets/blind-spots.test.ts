import { expect, it } from "vitest";
import { SOURCE_BLIND_SPOTS, SOURCES } from "./blind-spots.ts";

it("says what every source cannot see, in lines that fit below a table", () => {
  for (const source of SOURCES) {
    expect(SOURCE_BLIND_SPOTS[source].length).toBeGreaterThan(0);
    for (const sentence of SOURCE_BLIND_SPOTS[source])
      expect(sentence.length).toBeLessThanOrEqual(80);
  }
});
