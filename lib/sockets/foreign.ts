/**
 * foreign: a line of one format in a text of another. Two captures in one text would count as the first alone, for most
 * readers take what they do not know for prose or details.
 */
import { skipBlanks, skipWord } from "./lines.ts";
import { SKIP, type Format } from "./reader.ts";
import { stateNamed } from "./state-names.ts";

/** The words of headers and rows that stand anywhere in a line. */
const WORDS = /(?:^|\s)(?:tcp|udp|IPv[46]|inet6?\s|local[ _]address)/i;
/** What else a row begins with: a number, an address, the process of `lsof -F`. */
const BEGINNING = /^(?:[\d*:[]|p\d)/;

/** The format, other than `own`, that a skipped line is a header or row of. */
export function foreignFormat(
  text: string,
  reason: string,
  { own, others }: { own: Format; others: readonly Format[] },
): Format | undefined {
  if (reason === SKIP.blank || reason === SKIP.header || !isSuspicious(text)) return undefined;
  if (own.recognises(text)) return undefined;
  return others.find((format) => format !== own && format.recognises(text));
}

/** A cheap answer for almost all lines: details of ss come by the hundred thousand. */
function isSuspicious(text: string): boolean {
  const start = skipBlanks(text, 0, text.length);
  const end = skipWord(text, start, text.length);
  const first = text.slice(start, end);
  return BEGINNING.test(first) || stateNamed(first) !== undefined || WORDS.test(text);
}
