/** machine: on what a run was made, as far as it can be told from inside. */
import { readdirSync, readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";

/** What a recording says of its machine. */
export type Machine = {
  readonly kernel: string;
  readonly node: string;
  readonly cpus: number;
  readonly model: string;
  /** `family 25, model 17, stepping 1`: of virtual processors the model's name says little. */
  readonly processor?: string;
  readonly memoryBytes: number;
  /** Attacks that this processor is open to, and what the kernel does against each of them. */
  readonly vulnerabilities?: Readonly<Record<string, string>>;
};

/** This machine, now. */
export function thisMachine(): Machine {
  const processor = processorOf(readFileSync("/proc/cpuinfo", "latin1"));
  return {
    kernel: release()
      .split(/[^\d.]/, 1)
      .join(""),
    node: process.version,
    cpus: cpus().length,
    model: cpus()[0]?.model ?? "unknown",
    ...(processor === "" ? {} : { processor }),
    memoryBytes: totalmem(),
    vulnerabilities: vulnerabilitiesIn("/sys/devices/system/cpu/vulnerabilities"),
  };
}

/** From /proc/cpuinfo; empty where, as on ARM, it has no such lines. */
export function processorOf(cpuinfo: string): string {
  return [
    ["family", /^cpu family\s*: (\d+)/m],
    ["model", /^model\s*: (\d+)/m],
    ["stepping", /^stepping\s*: (\d+)/m],
  ]
    .flatMap(([name, pattern]) => {
      const found = (pattern as RegExp).exec(cpuinfo)?.[1];
      return found === undefined ? [] : [`${name as string} ${found}`];
    })
    .join(", ");
}

const UNTOUCHED = "Not affected";

/** One file for each attack; Documentation/ABI/testing/sysfs-devices-system-cpu. */
function vulnerabilitiesIn(folder: string): Readonly<Record<string, string>> {
  const texts = namesIn(folder).map((name): [string, string] => [
    name,
    readFileSync(join(folder, name), "latin1").trim(),
  ]);
  return Object.fromEntries(texts.filter(([, text]) => text !== UNTOUCHED));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
