import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { killAll, start, until } from "../testing/programs.ts";
import { allPids, commandLine } from "./process.ts";
import { findRung } from "./sandbox.ts";
import { hasTool } from "./tools.ts";

const folder = mkdtempSync(join(tmpdir(), "lifeline-test-"));
afterAll(() => {
  killAll();
  rmSync(folder, { recursive: true });
});

/** As when whoever started it is killed before the kernel knows what to do then. */
const UNSHARE = `#!/bin/sh
for word do shift; [ "$word" = --kill-child ] || set -- "$@" "$word"; done
PATH=\${PATH#*:} exec unshare "$@"
`;

describe("the first process of a sandbox", () => {
  it.for([
    ["SIGKILL", "lab", "shell --alone -- sleep 2323", /^sleep 2323$/],
    ["SIGKILL", "trace", "--wait", /^\S*node \S+stage-main/],
    ["SIGKILL", "lab", "run fin-wait-2", /^\S*node \S+arm-main/],
    ["SIGTERM", "lab", "shell --alone -- sleep 2323", /^\S*node \S+shell-main/],
    ["SIGTERM", "trace", "--wait", /^\S*node \S+stage-main/],
    ["SIGTERM", "lab", "run fin-wait-2", /^\S*node \S+arm-main/],
  ] as const)(
    "ends when %s ends whoever started it, even if the kernel does not see to it: %s %s",
    async (of, test) => {
      const [signal, name, words, shown] = of;
      const lacking = await findRung().then(
        () => undefined,
        (error: unknown) => (error as Error).message,
      );
      test.skip(lacking !== undefined, lacking);
      test.skip(name === "trace" && !hasTool("strace"), "needs strace");
      writeFileSync(join(folder, "unshare"), UNSHARE, { mode: 0o755 });
      const before = new Set(allPids());
      const inside = (): readonly number[] =>
        allPids().filter((pid) => !before.has(pid) && shown.test(commandLine(pid).join(" ")));
      const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
      const program = start(name, words.split(" "), { env });
      await until(inside, (pids) => pids.length > 0);
      program.child.kill(signal);
      await until(inside, (pids) => pids.length === 0);
      const { code } = await program.finished;
      expect(code).toBe(signal === "SIGTERM" ? 143 : null);
    },
  );
});
