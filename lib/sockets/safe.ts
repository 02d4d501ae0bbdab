/** safe: foreign text, for a terminal. */

/** Control characters, those of terminals included, as they are written in JSON; and no character that turns text around. */
export function safe(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u200E\u200F\u2028-\u202E\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
