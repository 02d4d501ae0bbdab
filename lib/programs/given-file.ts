/** given-file: the content of a file that a user has named. */
import { readFileSync } from "node:fs";

/** Throws with the errno of open(2) or read(2), and the path: of a folder, for one, Node says only that it cannot be read. */
export function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && !error.message.includes(path)) error.message += ` '${path}'`;
    throw error;
  }
}
