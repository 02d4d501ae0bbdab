/** demo-report: a step of the demo as text. */
import type { ChalkInstance } from "chalk";
import type { DemoStep } from "../programs/demo.ts";
import { safe, wrapped } from "./format.ts";

const COLUMNS = 80;
/** A message may be a mebibyte. */
const MOST_LINES = 6;
const MARKS = { sent: "  -> ", got: "  <- ", note: "     " } as const;

/** The title, what was sent, what came, and whether it was as documented. Lines of at most 80 columns; very long messages are cut. */
export function demoStep({ title, about, lines, held }: DemoStep, paint: ChalkInstance): string {
  const heading = wrapped(about, `${title}: `);
  return [
    heading.replace(title, paint.bold(title)),
    ...lines.map(({ kind, text }) => {
      const shown = folded(safe(text), MARKS[kind]);
      return kind === "note" ? paint.dim(shown) : shown;
    }),
    held ? paint.green("  as documented") : paint.red("  NOT as documented"),
    "",
  ].join("\n");
}

/** JSON has few blanks to break at: it is broken where the line is full. */
function folded(text: string, mark: string): string {
  const width = COLUMNS - mark.length;
  // No break within a character that takes two units.
  const lines = text.match(new RegExp(`[^]{1,${width}}(?<![\\uD800-\\uDBFF])`, "g")) ?? [""];
  const shown = lines.slice(0, MOST_LINES);
  if (lines.length > MOST_LINES) shown.push("...");
  return shown
    .map((line, index) => (index === 0 ? mark : " ".repeat(mark.length)) + line)
    .join("\n");
}
