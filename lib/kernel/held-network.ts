/**
 * held-network: somebody else's network namespace, held open, so that it stays the same one.
 *
 * The identity of a namespace is an inode number, and as soon as its last process has ended and nobody has it open the kernel
 * gives that number to the next one. Whoever asks after the end who is left in it might be told of a stranger's processes.
 *
 * Source: namespaces(7), "The /proc/pid/ns/ directory"; proc_alloc_inum() in fs/proc/generic.c takes the lowest free number.
 */
import { closeSync, fstatSync, openSync } from "node:fs";
import { allPids } from "./process.ts";
import { networkNamespace } from "./sandbox.ts";

/** A network that cannot be mistaken for another one until it is let go. */
export class HeldNetwork {
  readonly #netns: string;
  readonly #fd: number;

  private constructor(netns: string, fd: number) {
    this.#netns = netns;
    this.#fd = fd;
  }

  /** Holds the network with this identity, such as `net:[4026532178]`; undefined when no process that we may look into lives in it. */
  static find(netns: string): HeldNetwork | undefined {
    for (const pid of pidsIn(netns)) {
      const fd = opened(pid);
      if (fd === undefined) continue;
      if (netns === `net:[${fstatSync(fd).ino}]`) return new HeldNetwork(netns, fd);
      closeSync(fd); // Somebody else has got this pid meanwhile.
    }
    return undefined;
  }

  /** The processes that live in it now. */
  pids(): readonly number[] {
    return pidsIn(this.#netns);
  }

  /** Call it once; the number is free for others then. */
  letGo(): void {
    closeSync(this.#fd);
  }
}

function pidsIn(netns: string): readonly number[] {
  return allPids().filter((pid) => {
    try {
      return networkNamespace(pid) === netns;
    } catch {
      return false; // It has ended, or is another user's.
    }
  });
}

function opened(pid: number): number | undefined {
  try {
    return openSync(`/proc/${pid}/ns/net`, "r");
  } catch {
    return undefined;
  }
}
