/** tools: which programs are installed. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Is there an executable of this name on the PATH, or at this path? */
export function hasTool(name: string): boolean {
  if (name.includes("/")) return isExecutable(name);
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .some((folder) => isExecutable(join(folder, name)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
