/** memory: what the kernel itself holds for sockets. Source: proc(5); /proc/meminfo, /proc/net/sockstat. */
import { readFileSync } from "node:fs";
import { readSockstat } from "./counters.ts";

/** Of the whole machine, not of one namespace: the difference of two looks is as exact as the machine is quiet. */
export type KernelMemory = {
  /** The kernel's small objects: sockets, files, TIME_WAITs, and everything else of that kind. */
  readonly slabBytes: number;
  /** Pages for data in the buffers of TCP sockets. */
  readonly bufferBytes: number;
};

const PAGE_BYTES = 4_096;

/** Reads it now. */
export function kernelMemory(): KernelMemory {
  const slab = /^Slab:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "latin1"))?.[1];
  return { slabBytes: Number(slab) * 1_024, bufferBytes: readSockstat().memPages * PAGE_BYTES };
}
