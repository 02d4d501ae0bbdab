/** built: where a program of this project lies, for whoever starts it in a process of its own. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NeedsError } from "./errors.ts";

/**
 * The command line of a built program, such as `cmd/server`: as built by `make build`, also when this file itself is source.
 * Throws NeedsError when it is not there.
 */
export function builtCommand(program: string): readonly string[] {
  const root = import.meta.url.endsWith(".ts") ? "../../dist/" : "../../";
  const path = fileURLToPath(new URL(`${root}${program}.js`, import.meta.url));
  if (!existsSync(path)) throw new NeedsError(`${path} is missing: make build`);
  return [process.execPath, path];
}

/**
 * The environment for a program of ours in an experiment. What the user has set for programs that are started by hand does not belong
 * there, and some shells set HOST for purposes of their own; a variable that is set but empty counts as unset.
 */
export function builtEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, HOST: "", PORT: "", CONNECTIONS: "", LEAK: "", ALLOW_REMOTE: "" };
}
