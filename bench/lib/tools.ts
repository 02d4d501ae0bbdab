/** tools: what peers need, and who brings it. */
import { spawnSync } from "node:child_process";
import { hasTool } from "../../lib/kernel/tools.ts";
import type { Tool } from "./contest.ts";

/** Says which tools are not on the PATH, and which Debian packages bring them; undefined when all are there. */
export function missingTools(tools: readonly Tool[]): string | undefined {
  const missing = tools.filter(({ file }) => !hasTool(file));
  if (missing.length === 0) return undefined;
  return missing.map((tool) => `no ${tool.file} (package ${tool.package})`).join(", ");
}

/** The versions of the Debian packages that bring these tools; empty where there is no dpkg. */
export function versionsOf(tools: readonly Tool[]): Readonly<Record<string, string>> {
  const packages = [...new Set(tools.flatMap((tool) => tool.package.split(" ")))].sort();
  const { stdout } = spawnSync(
    "dpkg-query",
    ["-W", "-f", "${Package} ${Version}\\n", ...packages],
    {
      encoding: "utf8",
    },
  );
  const lines = ((stdout as string | null) ?? "").split("\n").map((line) => line.split(" "));
  return Object.fromEntries(
    lines.flatMap(([name, version = ""]) => (version === "" ? [] : [[name, version]])),
  ) as Readonly<Record<string, string>>;
}
