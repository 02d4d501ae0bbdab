/** tools: which programs are installed. */
import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { NeedsError } from "./errors.ts";

/** Where nft, ip, tc and sysctl lie. Debian leaves these folders out of an ordinary user's PATH; in a sandbox such a user may call them. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Where execvp(3) looks when there is no PATH, as under `env -i`. */
const WITHOUT_PATH = "/bin:/usr/bin";

/** The PATH of this process, and behind it the system's folders that it lacks. */
export function searchPath(): string {
  const folders = (process.env["PATH"] ?? WITHOUT_PATH).split(delimiter);
  return [...new Set([...folders, ...SYSTEM_FOLDERS])].join(delimiter);
}

/** Throws NeedsError, naming the Debian package, unless there is an executable of this name that can more than busybox's. */
export function needTool(name: string, fromPackage: string): void {
  const path = findTool(name);
  if (path === undefined) throw new NeedsError(`${name} is not installed (package ${fromPackage})`);
  if (basename(realpathSync(path)) === "busybox")
    throw new NeedsError(`${path} is busybox, which cannot do this: install ${fromPackage}`);
}

/** Is there an executable of this name on the search path, or at this path? */
export function hasTool(name: string): boolean {
  return findTool(name) !== undefined;
}

function findTool(name: string): string | undefined {
  const folders = name.includes("/") ? [""] : searchPath().split(delimiter);
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
