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
  /**
   * Whole lines, some 64 KiB at a time: does not block, for the kernel takes its time over a long table, and leaves no long text
   * behind, which would stay until a collection that an idle program does not need. One reader at a time.
   */
  readonly pieces: () => AsyncIterable<string>;
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
    pieces: () => piecesOf(descriptor),
    close: () => closeSync(descriptor),
  };
}

async function* piecesOf(descriptor: number): AsyncGenerator<string> {
  const buffer = Buffer.allocUnsafe(2 * CHUNK_BYTES);
  // Of what has been read up to `position`, `length` bytes have not been handed on yet.
  for (let position = 0, length = 0; ;) {
    const { bytesRead } = await readAsync(descriptor, buffer, length, CHUNK_BYTES, position);
    position += bytesRead;
    length += bytesRead;
    if (bytesRead > 0 && length < CHUNK_BYTES) continue;
    const end = bytesRead === 0 ? length : buffer.subarray(0, length).lastIndexOf("\n") + 1;
    if (end > 0) yield buffer.toString("latin1", 0, end);
    if (bytesRead === 0) return;
    buffer.copyWithin(0, end, length);
    length -= end;
  }
}
