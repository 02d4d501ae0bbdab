/** symptoms-page: from what one sees to the labs that show it, and the pages that explain it. */
import type { Lab } from "../lib/lab/define.ts";
import { ERRNO_WORDS, errnoNumber, EXPLAINED, NETSTAT_WORDS } from "../lib/lab/symptoms.ts";
import { HINT } from "./hint.ts";

/** The page. */
export function symptomsPage(labs: readonly Lab[]): string {
  const shown = labs.flatMap(({ story }) => story.symptoms ?? []);
  const known = [...new Set([...shown, ...EXPLAINED.keys()])].sort((a, b) =>
    a.localeCompare(b, "en"),
  );
  const errnos = Object.entries(ERRNO_WORDS) as [keyof typeof ERRNO_WORDS, string][];
  return [
    "# By symptom",
    HINT,
    "What you see, and which lab shows how it comes about; or, where it cannot be shown safely, the page that [explains](explained.md) it. " +
      'In a terminal: `node dist/cmd/lab.js explain "WHAT YOU SEE"`, with an errno, a counter, a state or a line of a log.',
    "## What logs and netstat say",
    "The same has several names. The last table below goes by those on the right.",
    [
      "| in a log | is |",
      "| --- | --- |",
      ...errnos.map(
        ([errno, words]) => `| "${words}", errno ${errnoNumber(errno)} | \`${errno}\` |`,
      ),
    ].join("\n"),
    [
      "| `netstat -s` | is, for `nstat -asz` |",
      "| --- | --- |",
      ...Object.entries(NETSTAT_WORDS).map(([counter, words]) => `| ${words} | \`${counter}\` |`),
    ].join("\n"),
    "## What you see",
    [
      "| what you see | lab or page |",
      "| --- | --- |",
      ...known.map((symptom) => `| ${symptom} | ${whereTo(symptom, labs)} |`),
    ].join("\n"),
  ].join("\n\n");
}

/** The labs that show a symptom, and the page that explains it. Of several labs the summaries tell which it is. */
function whereTo(symptom: string, labs: readonly Lab[]): string {
  const showing = labs.filter(({ story }) => story.symptoms?.includes(symptom));
  const page = EXPLAINED.get(symptom);
  const isClear = showing.length < 2;
  return [
    ...showing.map(
      ({ name, summary }) => `[${name}](labs/${name}.md)${isClear ? "" : `: ${summary}`}`,
    ),
    ...(page === undefined ? [] : [`[${page}](explained/${page}.md)`]),
  ].join("<br>");
}
