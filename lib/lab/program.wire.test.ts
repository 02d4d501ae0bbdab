import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hasTool } from "../kernel/tools.ts";
import { DIST } from "../testing/programs.ts";

describe("a program that cannot be started", () => {
  it("is an error, and no process is signalled in its place when we end", (test) => {
    test.skip(!hasTool("strace"), "needs strace");
    const folder = mkdtempSync(join(tmpdir(), "program-"));
    const setpriv = join(folder, "setpriv");
    writeFileSync(setpriv, "#!/nowhere\n");
    chmodSync(setpriv, 0o755);
    const script = `
      import { startProgram } from ${JSON.stringify(join(DIST, "lib/lab/program.js"))};
      process.env.PATH = ${JSON.stringify(folder)};
      try { startProgram("server", []); } catch ({ code, message }) { console.log(code, message); }
      process.exit();`;
    const trace = join(folder, "trace");
    const words = ["-f", "-qq", "-e", "trace=kill,execve", "-e", "signal=none", "-o", trace];
    const node = [process.execPath, "--input-type=module", "-e", script];
    const said = execFileSync("strace", [...words, ...node], { encoding: "utf8" });
    const calls = readFileSync(trace, "utf8");
    rmSync(folder, { recursive: true });
    expect(said).toMatch(/^TFL_NEEDS setpriv .* did not start/);
    expect(calls).toContain(`execve("${setpriv}"`);
    expect(calls).not.toContain("kill(");
  });
});
