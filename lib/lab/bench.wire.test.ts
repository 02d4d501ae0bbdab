import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isStopped } from "../kernel/process.ts";
import { hasTool } from "../kernel/tools.ts";
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
  it("has stopped when the arm goes on, however long the processor was another's", async (test) => {
    test.skip(!hasTool("chrt") || !hasTool("taskset"), "needs chrt and taskset of util-linux");
    const bench = new Bench("here", () => undefined);
    const [, core = ""] = /^Cpus_allowed_list:\s*(\d+)/m.exec(
      readFileSync("/proc/self/status", "latin1"),
    )!;
    const spin = ["-c", core, "sh", "-c", "while :; do :; done"];
    const other = spawn("taskset", spin);
    const last = spawn("taskset", spin);
    try {
      expect(spawnSync("chrt", ["--idle", "--pid", "0", `${last.pid}`]).status).toBe(0);
      for (let round = 0; round < 3; round += 1) {
        await bench.suspend(last.pid!);
        expect(isStopped(last.pid!)).toBe(true);
        last.kill("SIGCONT");
        expect(isStopped(last.pid!)).toBe(false);
      }
    } finally {
      other.kill("SIGKILL");
      last.kill("SIGKILL");
      await Promise.all([once(other, "exit"), once(last, "exit")]);
    }
  });

  it("that has ended already is an error", async () => {
    const gone = spawn(process.execPath, ["-e", "0"]);
    await once(gone, "exit");
    const bench = new Bench("here", () => undefined);
    await expect(bench.suspend(gone.pid!)).rejects.toThrow("ESRCH");
  });
});
