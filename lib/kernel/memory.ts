/** memory: what the kernel itself holds for sockets. Source: proc(5); /proc/meminfo, /proc/net/sockstat, /proc/self/auxv. */
import { readFileSync } from "node:fs";
import { readSockstat } from "./counters.ts";

/** Of the whole machine, not of one namespace: the difference of two looks is as exact as the machine is quiet. */
export type KernelMemory = {
  /** The kernel's small objects: sockets, files, TIME_WAITs, and everything else of that kind. */
  readonly slabBytes: number;
  /** Pages for data in the buffers of TCP sockets. */
  readonly bufferBytes: number;
};

/** Reads it now. */
export function kernelMemory(): KernelMemory {
  const slab = /^Slab:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "latin1"))?.[1];
  return { slabBytes: Number(slab) * 1_024, bufferBytes: readSockstat().memPages * pageBytes() };
}

let known: number | undefined;

/** The size of a page of this kernel: 4,096 bytes on x86, but up to 65,536 on arm64 and ppc64le. */
export function pageBytes(): number {
  return (known ??= pageBytesIn(new Uint8Array(readFileSync("/proc/self/auxv"))));
}

const AT_PAGESZ = 6n;

/**
 * The same from what the kernel gives a program at its start: pairs of words, a type and its value; getauxval(3). 4,096 where
 * it is not found: in a process of 32 bits the words are shorter, and pages are of that size.
 */
export function pageBytesIn(auxv: Uint8Array<ArrayBuffer>): number {
  const words = new BigUint64Array(auxv.buffer, auxv.byteOffset, auxv.byteLength >> 3);
  const at = words.findIndex((word, index) => index % 2 === 0 && word === AT_PAGESZ);
  return Number(at < 0 ? 4_096 : words[at + 1]);
}
