/** owners: which process holds which socket, from /proc/PID/fd. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Owner, SocketRecord } from "./record.ts";

/** Socket inode to its holders. */
export type OwnersByInode = ReadonlyMap<number, readonly Owner[]>;

/**
 * Walks every process that may be looked into: all of them as root, else the user's own. Processes that end meanwhile are
 * left out. Cost: one readlink(2) for each open descriptor.
 */
export function readOwners(): OwnersByInode {
  const owners = new Map<number, Owner[]>();
  for (const entry of listing("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    let name: string | undefined;
    for (const { inode, fd } of socketsOf(pid)) {
      name ??= commandOf(pid);
      const held = owners.get(inode) ?? [];
      held.push({ pid, name, fd });
      owners.set(inode, held);
    }
  }
  return owners;
}

/** The record with its owners, found by inode. */
export function ownedBy(owners: OwnersByInode, record: SocketRecord): SocketRecord {
  const held = record.inode === undefined ? undefined : owners.get(record.inode);
  return held === undefined ? record : { ...record, owners: held };
}

function socketsOf(pid: number): { inode: number; fd: number }[] {
  return listing(`/proc/${pid}/fd`).flatMap((fd) => {
    const inode = /^socket:\[(\d+)\]$/.exec(target(`/proc/${pid}/fd/${fd}`))?.[1];
    return inode === undefined ? [] : [{ inode: Number(inode), fd: Number(fd) }];
  });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return "?";
  }
}

/** The process may have ended, or belong to somebody else: both mean that there is nothing to see. */
function listing(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}
