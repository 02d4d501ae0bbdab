/**
 * procfile: a /proc file that stays open.
 *
 * A process that has run out of descriptors cannot open anything any more, /proc included, and that is just when it has
 * something to say. A file opened in good time can be read again from offset 0 for ever: the kernel prints it anew.
 */
import { closeSync, openSync, readSync } from "node:fs";

/** A /proc file held open: `read()` gives its present text. Blocking, without a descriptor of its own. */
export type ProcFile = { readonly read: () => string; readonly close: () => void };

const CHUNK_BYTES = 65_536;

/** Opens `path` and keeps it open. Throws ENOENT or EACCES as open(2) does. */
export function openProcFile(path: string): ProcFile {
  const descriptor = openSync(path, "r");
  let buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const read = (): string => {
    let length = 0;
    for (;;) {
      if (buffer.length - length < CHUNK_BYTES) buffer = doubled(buffer);
      const got = readSync(descriptor, buffer, length, buffer.length - length, length);
      if (got === 0) return buffer.toString("latin1", 0, length);
      length += got;
    }
  };
  return { read, close: () => closeSync(descriptor) };
}

function doubled(buffer: Buffer): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafe(buffer.length * 2);
  buffer.copy(larger);
  return larger;
}
