/** sysctl: kernel parameters, under the names that sysctl(8) uses. */
import { readFileSync, writeFileSync } from "node:fs";

/**
 * Reads a parameter, for example `net.ipv4.tcp_tw_reuse`; several values are apart by a blank. Undefined where this kernel or
 * namespace has none of that name.
 */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(pathOf(name), "latin1").trim().replaceAll("\t", " ");
  } catch {
    return undefined;
  }
}

/** Reads a numeric parameter; `missing` where there is none of that name. */
export function readNumericSysctl(name: string, missing: number): number {
  const text = readSysctl(name);
  return text === undefined ? missing : Number(text);
}

/**
 * Sets a parameter of this network namespace. Only the sandbox does this: nothing in this project changes a parameter
 * of the machine itself. Throws EACCES or EPERM without CAP_NET_ADMIN over the namespace, EINVAL for a bad value.
 */
export function writeSysctl(name: string, value: string | number): void {
  writeFileSync(pathOf(name), String(value));
}

function pathOf(name: string): string {
  return `/proc/sys/${name.replaceAll(".", "/")}`;
}
