/** cores: a server and its load on cores of their own. Otherwise the scheduler puts them on one now and then, and a run is half as fast. */
import { readFileSync } from "node:fs";
import type { Tool } from "./contest.ts";

/** What keeping apart needs. */
export const PINNING: Tool = { file: "taskset", package: "util-linux" };

/** Words before a command that keep it on the first core that this process may use, or on the last: taskset(1). */
export function onCore(which: "first" | "last"): readonly string[] {
  const core = allowedCores().at(which === "first" ? 0 : -1);
  return core === undefined ? [] : ["taskset", "--cpu-list", `${core}`];
}

/** From `Cpus_allowed_list:	0-2,5` in /proc/self/status; proc(5). */
function allowedCores(): readonly number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(
    readFileSync("/proc/self/status", "latin1"),
  )?.[1];
  return (list ?? "").split(",").flatMap((part) => {
    const [first = NaN, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
