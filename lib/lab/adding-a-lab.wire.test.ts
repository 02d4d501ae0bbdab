import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findRung } from "../kernel/sandbox.ts";
import type { LabResult } from "./result.ts";

const ROOT = join(import.meta.dirname, "../..");
const PAGE = readFileSync(join(ROOT, "docs/adding-a-lab.md"), "utf8");

const MEASURES = "answered.measured(seen.echoes);";
const CUT_SHORT = "its process ended before the arm did, as after process.exit()";

/** A checkout of its own, already built: the lab of the page is added to it, and only what the lab uses is built again. */
let checkout: string;
let cannotSandbox: string | undefined;

beforeAll(async () => {
  checkout = mkdtempSync(join(tmpdir(), "adding-a-lab-"));
  for (const part of ["dist", "lib", "package.json", "tsconfig.json", "tsconfig.build.json"])
    cpSync(join(ROOT, part), join(checkout, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(checkout, "node_modules"));
  cannotSandbox = await findRung().then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  );
});
afterAll(() => rmSync(checkout, { recursive: true, force: true }));

function run(file: string, ...args: readonly string[]): string {
  return execFileSync(process.execPath, [join(checkout, file), ...args], {
    cwd: checkout,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
}

describe("docs/adding-a-lab.md", () => {
  const timeout = 120_000;
  it(
    "shows a lab in one file, which builds, is listed, explained, and holds",
    { timeout },
    (test) => {
      test.skip(cannotSandbox !== undefined, cannotSandbox);
      const [, lab = ""] = /^```ts\n([^]*?)^```$/m.exec(PAGE) ?? [];
      const [, name = ""] = /lib\/labs\/([a-z-]+)\.ts/.exec(PAGE) ?? [];
      writeFileSync(join(checkout, "lib/labs", `${name}.ts`), lab);
      const build = { extends: "./tsconfig.build.json", include: [`lib/labs/${name}.ts`] };
      writeFileSync(join(checkout, "tsconfig.lab.json"), JSON.stringify(build));
      expect(run("node_modules/typescript/bin/tsc", "-p", "tsconfig.lab.json")).toBe("");
      expect(run("dist/cmd/lab.js", "list")).toContain(`  ${name} `);
      expect(run("dist/cmd/lab.js", "explain", name)).toContain("How to recognise it");
      const [result] = JSON.parse(run("dist/cmd/lab.js", "run", name, "--json")) as LabResult[];
      expect(result?.arms.map(({ kind, verdict }) => [kind, verdict])).toEqual(
        ["broken", "control", "fixed", "myth"].map((kind) => [kind, "held"]),
      );
    },
  );

  it.for([
    [
      "leaves a prediction unmeasured",
      MEASURES,
      "",
      "predicted but not measured: clients answered",
    ],
    ["ends its process before it has measured", MEASURES, "process.exit(0);", CUT_SHORT],
    [
      "prints something where the engine reads",
      MEASURES,
      `${MEASURES} process.stdout.write("23 "); console.log("of them");`,
      'stdout is for the engine, and the arm wrote to it: "23 of them"; bench.say() tells people something',
    ],
    ["makes no claim", "await visit(bench, params, 0);", "", "made no claim"],
  ])(
    "fails in an arm that %s, and says so",
    { timeout },
    ([, line = "", instead = "", reason], test) => {
      test.skip(cannotSandbox !== undefined, cannotSandbox);
      const built = join(checkout, "dist/lib/labs/refused.js");
      const whole = readFileSync(built, "utf8");
      expect(whole).toContain(line);
      writeFileSync(built, whole.replace(line, instead));
      const lab = join(checkout, "dist/cmd/lab.js");
      const args = [lab, "run", "refused", "--arm", "control", "--json"];
      const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
      writeFileSync(built, whole);
      const [result] = JSON.parse(stdout) as LabResult[];
      expect(status).toBe(1);
      expect(result?.arms[0]?.reason).toBe(reason);
    },
  );
});
