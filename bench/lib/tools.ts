/** tools: what peers need, and who brings it. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { Tool } from "./contest.ts";

/** Says which tools are not on the PATH, and which Debian packages bring them; undefined when all are there. */
export function missingTools(tools: readonly Tool[]): string | undefined {
  const missing = tools.filter(({ file }) => !isThere(file));
  if (missing.length === 0) return undefined;
  return missing.map((tool) => `no ${tool.file} (package ${tool.package})`).join(", ");
}

function isThere(file: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, file), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
