/** Text that a parser refuses. Quotes the line, because "parse error" alone helps nobody at three in the morning. */

const QUOTED_CHARACTERS = 120;

/** What went wrong, and where. */
export type ParseTrouble = {
  /** Which format was being read: `ss`, `netstat`, or `auto` when none was recognised. */
  readonly format: string;
  readonly reason: string;
  /** Line of the source, from 1. */
  readonly line: number;
  readonly text: string;
  /** The formats that were tried, or that there are, when none fitted. */
  readonly tried?: readonly string[];
};

/** Refused text. `code` is stable; `line` and `text` say which line, `tried` which formats were tried. */
export class ParseError extends Error {
  override name = "ParseError";
  readonly code = "TFL_PARSE";
  readonly format: string;
  readonly reason: string;
  readonly line: number;
  readonly text: string;
  readonly tried: readonly string[];

  constructor({ format, reason, line, text, tried = [] }: ParseTrouble) {
    const where = line > 0 ? ` (line ${line}): ${quote(text)}` : "";
    const attempts = tried.length > 0 ? `; tried: ${tried.join(", ")}` : "";
    super(`${format === "auto" ? "" : `${format}: `}${reason}${where}${attempts}`);
    this.format = format;
    this.reason = reason;
    this.line = line;
    this.text = text;
    this.tried = tried;
  }
}

function quote(text: string): string {
  return JSON.stringify(
    text.length > QUOTED_CHARACTERS ? `${text.slice(0, QUOTED_CHARACTERS)}…` : text,
  );
}
