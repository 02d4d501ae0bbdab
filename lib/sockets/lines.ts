/** lines: finding lines and words by scanning, so that 10 MB of text never become an array of strings. */

const SPACE = 32;
const TAB = 9;

/** Is this a space or a tab? */
export function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

/** Is this the code of 0 to 9? */
export function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Where the blanks from `at` on end: the start of the next word, or `end`. */
export function skipBlanks(text: string, at: number, end: number): number {
  let index = at;
  while (index < end && isBlank(text.charCodeAt(index))) index += 1;
  return index;
}

/** Where the word that starts at `at` ends: at a blank, or at `end`. */
export function skipWord(text: string, at: number, end: number): number {
  let index = at;
  while (index < end && !isBlank(text.charCodeAt(index))) index += 1;
  return index;
}

/** The words of a line. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let at = skipBlanks(line, 0, line.length);
  while (at < line.length) {
    const end = skipWord(line, at, line.length);
    words.push(line.slice(at, end));
    at = skipBlanks(line, end, line.length);
  }
  return words;
}

/** A whole number of decimal digits, or undefined. */
export function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text.length > 15) return undefined;
  for (let index = 0; index < text.length; index += 1)
    if (!isDigit(text.charCodeAt(index))) return undefined;
  return Number(text);
}
