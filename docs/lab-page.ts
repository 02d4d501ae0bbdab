/** lab-page: the page of one lab: its story, its arms, a recorded run, and where to go on. */
import type { Lab, Tag } from "../lib/lab/define.ts";
import { HINT } from "./hint.ts";

/** The pages that explain what a lab of this kind is about. */
const CONCEPTS: Readonly<Record<Tag, readonly string[]>> = {
  ports: ["four-tuple", "time-wait"],
  closing: ["socket-lifecycle", "close-wait-and-fin-wait-2", "time-wait"],
  descriptors: ["descriptors", "close-wait-and-fin-wait-2", "limits"],
  queues: ["queues", "two-kinds-of-sockets"],
  handshakes: ["socket-lifecycle", "queues"],
  data: ["buffers", "packet-path"],
  peers: ["socket-lifecycle", "buffers"],
};

/** Where to go on: the pages about the same, and the labs beside it. */
function furtherPages({ name, tags }: Lab, labs: readonly Lab[]): readonly string[] {
  const pages = [...new Set(tags.flatMap((tag) => CONCEPTS[tag]))];
  const others = labs.filter((lab) => lab.name !== name && lab.tags[0] === tags[0]);
  return [
    `Concepts: ${pages.map((page) => `[${page}](../concepts/${page}.md)`).join(", ")}`,
    `Labs beside it: ${others.map((lab) => `[${lab.name}](${lab.name}.md)`).join(", ")}`,
    "What you see on a machine, and where it leads: [by symptom](../symptoms.md)",
  ];
}

/** The page, with the text of its recorded run. */
export function labPage(lab: Lab, labs: readonly Lab[], run: string): string {
  const { story } = lab;
  const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join("\n");
  const arms = lab.arms.map(({ kind, about }) => `| ${kind} | ${about.replaceAll("|", "\\|")} |`);
  const params = Object.entries(lab.params).map(
    ([name, [value, about]]) => `| \`--${name}\` | ${value} | ${about} |`,
  );
  return (
    [
      `# ${lab.name}`,
      HINT,
      sentence(lab.summary),
      `\`\`\`sh\nmake lab NAME=${lab.name}\n\`\`\``,
      "## What you will see",
      story.see,
      "## Why",
      story.why,
      "## Arms",
      ["| kind | what is different |", "| --- | --- |", ...arms].join("\n"),
      "## A recorded run",
      "How to read it, arms, columns and charts: [reading a run](../reading-a-run.md).",
      `\`\`\`text\n${run.trimEnd()}\n\`\`\``,
      "## How to recognise it on your own machine",
      story.recognise
        .map(([command, shows]) => `\`\`\`sh\n${command}\n\`\`\`\n\n${sentence(shows)}`)
        .join("\n\n"),
      "## How to fix it",
      list(story.fix),
      ...(story.needs === undefined
        ? []
        : [
            "## What it needs",
            "Where one of these is missing, the arms that use it are skipped, and say why; the others run.",
            list(story.needs),
          ]),
      ...(params.length === 0
        ? []
        : [
            "## Parameters",
            `Flags of \`lab run ${lab.name}\`:`,
            ["| flag | default | meaning |", "| --- | --- | --- |", ...params].join("\n"),
          ]),
      "## Seen in production",
      list(story.reports.map(reportLink)),
      "## Read on",
      list(furtherPages(lab, labs)),
    ].join("\n\n") + "\n"
  );
}

/** Code at the start of a text keeps its spelling: `accept4() = -1`, `bytes_received`, `rto:`. */
function sentence(text: string): string {
  const isCode = /^\S*[(_.:]/.test(text);
  const first = text.charAt(0);
  return `${isCode ? first : first.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function reportLink(report: string): string {
  const [repository = "", number = ""] = report.split("#");
  return `[${report}](https://github.com/${repository}/issues/${number})`;
}
