/**
 * residue: what a run could leave behind on the machine, before and after.
 *
 * Everything that a lab changes lies in a namespace that dies with it. This is the proof, not the mechanism.
 */
import { readdirSync, readFileSync } from "node:fs";

const FOLDERS = ["/proc/sys/net/ipv4", "/proc/sys/net/core", "/proc/sys/net/ipv6"];

/** Network parameters of this machine by name, as far as this user may read them. */
export type NetworkParameters = ReadonlyMap<string, string>;

/** Reads all parameters directly in net.ipv4, net.core and net.ipv6, not those of single interfaces. */
export function networkParameters(): NetworkParameters {
  return new Map(FOLDERS.flatMap(parametersIn));
}

function parametersIn(folder: string): (readonly [string, string])[] {
  return entriesOf(folder).flatMap((name) => {
    try {
      return [
        [
          `${folder.slice("/proc/sys/".length)}/${name}`,
          readFileSync(`${folder}/${name}`, "latin1"),
        ] as const,
      ];
    } catch {
      return []; // A folder, or readable by root only.
    }
  });
}

function entriesOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // A kernel without IPv6.
  }
}

/** Names of the parameters whose values differ. */
export function changedParameters(
  before: NetworkParameters,
  after: NetworkParameters,
): readonly string[] {
  return [...after].filter(([name, value]) => before.get(name) !== value).map(([name]) => name);
}
