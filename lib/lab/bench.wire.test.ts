import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { isStopped } from "../kernel/process.ts";
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

describe("a process that is suspended", () => {
  it("has stopped when the arm goes on, 23 times in a row, however busy it is", async () => {
    const bench = new Bench("here", () => undefined);
    const busy = spawn(process.execPath, ["-e", "for (;;) performance.now()"]);
    try {
      const seen: boolean[] = [];
      for (let round = 0; round < 23; round += 1) {
        await bench.suspend(busy.pid!);
        seen.push(isStopped(busy.pid!));
        busy.kill("SIGCONT");
        seen.push(isStopped(busy.pid!));
      }
      expect(seen).toEqual(Array.from({ length: 46 }, (_, index) => index % 2 === 0));
    } finally {
      busy.kill("SIGKILL");
      await once(busy, "exit");
    }
  });

  it("that has ended already is an error", async () => {
    const gone = spawn(process.execPath, ["-e", "0"]);
    await once(gone, "exit");
    const bench = new Bench("here", () => undefined);
    await expect(bench.suspend(gone.pid!)).rejects.toThrow("ESRCH");
  });
});
