/** tools: what peers need, and who brings it. */
import { hasTool } from "../../lib/kernel/tools.ts";
import type { Tool } from "./contest.ts";

/** Says which tools are not on the PATH, and which Debian packages bring them; undefined when all are there. */
export function missingTools(tools: readonly Tool[]): string | undefined {
  const missing = tools.filter(({ file }) => !hasTool(file));
  if (missing.length === 0) return undefined;
  return missing.map((tool) => `no ${tool.file} (package ${tool.package})`).join(", ");
}
