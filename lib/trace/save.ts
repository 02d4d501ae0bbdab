/** save: the raw material of a recording as files, for other tools. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Recording } from "./order.ts";

/** Writes into a folder, which is made when it is not there. Returns the names of the files. */
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
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of files) writeFileSync(join(folder, name), content);
  return files.map(([name]) => name);
}
