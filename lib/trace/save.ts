/** save: the raw material of a recording as files, for other tools. */
import { accessSync, constants, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NeedsError } from "../kernel/errors.ts";
import type { Recording, Traced } from "./order.ts";

/** Makes the folder when it is not there. @throws NeedsError when that cannot be done, or it may not be written to. */
export function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unusable(folder, error);
  }
  try {
    accessSync(`${folder}/.`, constants.W_OK); // A file has no entry ".".
  } catch (error) {
    throw unusable(folder, error);
  }
}

function unusable(folder: string, error: unknown): NeedsError {
  return new NeedsError(`cannot write to ${folder}: ${(error as Error).message}`);
}

const ROLES: readonly Traced["role"][] = ["server", "client", "command", "process"];

/** Every name that a recording may have a file under. */
const OURS = [...ROLES.map((role) => `strace-${role}.txt`), "capture.pcap", "trace.json"];

/** Writes into a folder, from which the files of an earlier recording go: two mixed would be evidence of nothing. Returns the names of the files. */
export function saveRecording(
  recording: Recording,
  folder: string,
  json: string,
): readonly string[] {
  const files: (readonly [name: string, content: string | Buffer])[] = [
    ...recording.traced.map(({ role, strace }) => [`strace-${role}.txt`, strace] as const),
    ...(recording.pcap === undefined
      ? []
      : [["capture.pcap", Buffer.from(recording.pcap, "base64")] as const]),
    ["trace.json", `${json}\n`],
  ];
  for (const name of OURS) rmSync(join(folder, name), { force: true });
  for (const [name, content] of files) writeFileSync(join(folder, name), content);
  return files.map(([name]) => name);
}
