/** repaint: text that takes the place of the text before it on a terminal. */

/** What to write now, a line end behind it, and what to write before the next. */
export type Painting = { readonly text: string; readonly erase: string };

/** The narrowest terminal on which no line of a table wraps. */
const TABLE_COLUMNS = 80;

/**
 * Cuts a text to what the terminal can take back: what has scrolled out at the top stays for ever. Lines that wrap cannot be
 * counted: then the whole screen goes.
 */
export function painting(
  text: string,
  { rows, columns }: { readonly rows: number; readonly columns: number },
): Painting {
  const lines = text.split("\n");
  const room = Math.max(rows - 1, 1);
  const left = lines.length - room + 1;
  const shown = left <= 1 ? lines : [...lines.slice(0, room - 1), `... ${left} more lines`];
  const erase =
    columns < TABLE_COLUMNS ? "\r\u001B[H\u001B[2J" : `\r\u001B[${shown.length}A\u001B[J`;
  return { text: shown.join("\n"), erase };
}
