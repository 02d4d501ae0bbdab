/**
 * procfile: a /proc file that stays open.
 *
 * A process that has run out of descriptors cannot open anything any more, /proc included, and that is just when it has
 * something to say. A file opened in good time can be read again from offset 0 for ever: the kernel prints it anew.
 */
import { closeSync, openSync, read, readSync } from "node:fs";
import { promisify } from "node:util";

/** A /proc file held open. Both ways of reading give its present text and need no further descriptor. */
export type ProcFile = {
  /** Blocks meanwhile: for files of a few lines. */
  readonly read: () => string;
  /** Does not block: the kernel takes its time over a long socket table. One at a time. */
  readonly readLater: () => Promise<string>;
  readonly close: () => void;
};

const CHUNK_BYTES = 65_536;
const readAsync = promisify(read);

/** Opens `path` and keeps it open. Throws ENOENT or EACCES as open(2) does. */
export function openProcFile(path: string): ProcFile {
  const descriptor = openSync(path, "r");
  let buffer = Buffer.allocUnsafe(2 * CHUNK_BYTES);
  /** Makes room for another chunk after `length` bytes. */
  const grow = (length: number): void => {
    if (buffer.length - length >= CHUNK_BYTES) return;
    const larger = Buffer.allocUnsafe(buffer.length * 2);
    buffer.copy(larger, 0, 0, length);
    buffer = larger;
  };
  return {
    read: () => {
      for (let length = 0; ;) {
        grow(length);
        const got = readSync(descriptor, buffer, length, CHUNK_BYTES, length);
        if (got === 0) return buffer.toString("latin1", 0, length);
        length += got;
      }
    },
    readLater: async () => {
      for (let length = 0; ;) {
        grow(length);
        const { bytesRead } = await readAsync(descriptor, buffer, length, CHUNK_BYTES, length);
        if (bytesRead === 0) return buffer.toString("latin1", 0, length);
        length += bytesRead;
      }
    },
    close: () => closeSync(descriptor),
  };
}
