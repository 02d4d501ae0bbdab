/** claims-page: the table of claims checked, with the recorded session of each. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLAIMS, type Claim } from "./claims.ts";
import { runSession, sessionText, type Step } from "./console.ts";

const FOLDER = join(import.meta.dirname, "../../docs/concepts/claims");
const fileOf = ({ name }: Claim): string => join(FOLDER, `${name}.txt`);

/** Runs the commands of every claim, or of those named, and keeps what they print. */
export async function recordClaims(names: readonly string[]): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  for (const claim of CLAIMS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const text = sessionText(await runSession(steps(claim)));
    measuredIn(claim, text);
    writeFileSync(fileOf(claim), `${text}\n`);
    process.stderr.write(`${claim.name}: ${measuredIn(claim, text)}\n`);
  }
}

function steps({ commands }: Claim): readonly Step[] {
  return commands.map((command) => ({ command, output: "" }));
}

/** The recorded session; throws when there is none of these very commands. */
function recorded(claim: Claim): string {
  const text = existsSync(fileOf(claim)) ? readFileSync(fileOf(claim), "utf8").trimEnd() : "";
  const commands = text.split("\n").filter((line) => line.startsWith("$ "));
  if (commands.join("\n") !== sessionText(steps(claim)))
    throw new Error(
      `docs/concepts/claims/${claim.name}.txt: not of these commands; record it anew`,
    );
  return text;
}

/** What was measured, in words; throws when it is not in the session, or speaks against the verdict. */
export function measuredIn({ name, find, measured, verdict, bears }: Claim, text: string): string {
  const groups = find.exec(text);
  if (groups === null)
    throw new Error(`claim ${name}: nothing in its session is what it looks for:\n${text}`);
  const numbers = groups.slice(1).map((group) => Number.parseFloat(group.replaceAll(",", "")));
  if (bears?.(...numbers) === false)
    throw new Error(`claim ${name}: not ${verdict} by what was measured:\n${text}`);
  return measured.replaceAll(/\$(\d)/g, (_, digit: string) => groups[Number(digit)] ?? "");
}

/** docs/concepts/claims-checked.md. */
export function claimsPage(hint: string): string {
  const rows = CLAIMS.map((claim) => {
    const { name, source, says, verdict } = claim;
    return `| [${says}](#${name}) | ${source} | ${measuredIn(claim, recorded(claim))} | ${verdict} |`;
  });
  const sections = CLAIMS.map((claim) =>
    [
      `### ${claim.name}`,
      `> ${claim.says}`,
      `**${claim.verdict}**: ${measuredIn(claim, recorded(claim))}. ${claim.because}`,
      `\`\`\`console\n${recorded(claim)}\n\`\`\``,
    ].join("\n\n"),
  );
  const count = (verdict: Claim["verdict"]): number =>
    CLAIMS.filter((claim) => claim.verdict === verdict).length;
  return (
    [
      "# Claims checked",
      hint,
      "Texts on TCP that many have learnt from say things in numbers: on the socket API, on what the kernel does, on a protocol over sockets, and notes for revision. " +
        "Here each of these claims was put to the test, with programs of this suite, in the sandbox that `make shell` opens. " +
        `Of ${CLAIMS.length} claims ${count("holds")} hold, ${count("wrong")} are wrong here, ${count("outdated")} outdated; with ${count("depends")} it depends.`,
      ["| claim | text on | measured | verdict |", "| --- | --- | --- | --- |", ...rows].join("\n"),
      "## The sessions",
      ...sections,
    ].join("\n\n") + "\n"
  );
}
