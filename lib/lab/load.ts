/** load: finds the labs on disk. The engine knows none of them by name. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NeedsError } from "../kernel/errors.ts";
import type { Lab } from "./define.ts";

const FOLDER = new URL("../labs/", import.meta.url);

/** Names of all labs, sorted. */
export function labNames(): readonly string[] {
  return readdirSync(fileURLToPath(FOLDER))
    .filter((file) => /^[a-z0-9-]+\.[jt]s$/.test(file))
    .map((file) => file.slice(0, -3))
    .sort();
}

/** Loads one lab. Throws NeedsError, naming all of them, when there is none of that name. */
export async function loadLab(name: string): Promise<Lab> {
  const names = labNames();
  if (!names.includes(name))
    throw new NeedsError(`there is no lab ${JSON.stringify(name)}; there are: ${names.join(", ")}`);
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const module = (await import(new URL(`${name}.${extension}`, FOLDER).href)) as { default: Lab };
  if (module.default.name !== name)
    throw new NeedsError(
      `lib/labs/${name}: its name is ${module.default.name}; file and name have to agree`,
    );
  return module.default;
}

/** Loads all labs, or those named. */
export function loadLabs(names: readonly string[] = labNames()): Promise<readonly Lab[]> {
  return Promise.all(names.map(loadLab));
}
