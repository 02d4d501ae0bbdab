/** repaint: text that takes the place of the text before it on a terminal. */
import { stripVTControlCharacters } from "node:util";

/** What to write now, a line end behind it, and what to write before the next. */
export type Painting = { readonly text: string; readonly erase: string };

/**
 * Cuts a text to what the terminal can take back: what has scrolled out at the top stays for ever, and lines that wrap cannot be
 * counted. A line that is cut loses its colours.
 */
export function painting(
  text: string,
  { rows, columns }: { readonly rows: number; readonly columns: number },
): Painting {
  const lines = text.split("\n").map((line) => fitting(line, columns));
  const room = Math.max(rows - 1, 1);
  const left = lines.length - room + 1;
  const shown = left <= 1 ? lines : [...lines.slice(0, room - 1), `... ${left} more lines`];
  return { text: shown.join("\n"), erase: `\r\u001B[${shown.length}A\u001B[J` };
}

function fitting(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  return plain.length <= columns ? line : plain.slice(0, columns);
}
