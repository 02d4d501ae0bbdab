/**
 * cores: two programs that talk to each other, on one core.
 *
 * On two, what the kernel does for a connection between them depends on how far these are from each other, and on a virtual machine the host
 * changes that from one second to the next: docs/benchmarks.md has the figures.
 */
import { readFileSync } from "node:fs";
import type { Tool } from "./contest.ts";

/** What keeping programs on a core needs. */
export const PINNING: Tool = { file: "taskset", package: "util-linux" };

/** Words before a command that keep it, and all that it starts, on the first core that this process may use: taskset(1). */
export function onOneCore(): readonly string[] {
  const [core] = allowedCores();
  return core === undefined ? [] : ["taskset", "--cpu-list", `${core}`];
}

/** All that this process may use, from `Cpus_allowed_list:	0-2,5` in /proc/self/status; proc(5). */
export function allowedCores(): readonly number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(
    readFileSync("/proc/self/status", "latin1"),
  )?.[1];
  return (list ?? "").split(",").flatMap((part) => {
    const [first = NaN, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
