import { describe, expect, it } from "vitest";
import { Bench } from "./bench.ts";

describe("a prediction", () => {
  it("that was never measured is an error, however many others were", () => {
    const bench = new Bench("here", () => undefined);
    bench.predict("one", 23).measured(23);
    expect(() => bench.requireMeasured()).not.toThrow();
    bench.predict("two", 23);
    bench.predict("three", 23).measured(22);
    expect(() => bench.requireMeasured()).toThrow("predicted but not measured: two");
  });
});
