/**
 * A regular expression that backtracks turns one pasted line into minutes of work: quadratic is enough. recheck proves each
 * one linear with automata, its search for a place to begin included (https://makenowjust-labs.github.io/recheck/).
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { check } from "recheck";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");

/** Files that make expressions from strings, which nobody can prove: the text that theirs are for is not foreign. */
const MADE_FROM_STRINGS: Readonly<Record<string, string>> = {
  "lib/kernel/process.ts": "the kernel's own /proc/PID/status",
  "lib/report/demo-report.ts": "cuts what our demo has to say into lines",
};

type Found = {
  readonly where: string;
  readonly source: string;
  readonly flags: string;
};

/** The expressions of a file, and where it makes others from strings. */
function expressionsOf(file: string, text: string): { literals: Found[]; made: string[] } {
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const literals: Found[] = [];
  const made: string[] = [];
  const visit = (node: ts.Node): void => {
    const { line } = tree.getLineAndCharacterOfPosition(node.getStart(tree));
    const where = `${file}:${line + 1}`;
    if (ts.isRegularExpressionLiteral(node)) {
      const end = node.text.lastIndexOf("/");
      literals.push({ where, source: node.text.slice(1, end), flags: node.text.slice(end + 1) });
    }
    const isMaker = ts.isNewExpression(node) || ts.isCallExpression(node);
    if (isMaker && node.expression.getText(tree) === "RegExp") made.push(where);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { literals, made };
}

/** Undefined when it is proved linear, else what is wrong with it. */
async function troubleOf({ where, source, flags }: Found): Promise<string | undefined> {
  const found = await check(source, flags, { checker: "automaton", timeout: 30_000 });
  const at = `${where} /${source}/${flags}`;
  if (found.status === "safe") return undefined;
  if (found.status === "vulnerable")
    return `${at}: ${found.complexity.summary}, try ${found.attack.pattern}`;
  const { error } = found;
  return `${at}: not proved: ${error.kind === "unsupported" ? error.message : error.kind}`;
}

async function troublesOf(found: readonly Found[]): Promise<string[]> {
  const troubles: string[] = [];
  for (const one of found) troubles.push((await troubleOf(one)) ?? "");
  return troubles.filter((trouble) => trouble !== "");
}

const files = ["cmd", "lib"].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => join(folder, file)),
);
const all = files.map((file) => ({
  file,
  ...expressionsOf(file, readFileSync(join(ROOT, file), "utf8")),
}));

describe("regular expressions", () => {
  it("are found, and those that backtrack are named with file, line and attack", async () => {
    const { literals, made } = expressionsOf(
      "some.ts",
      'const a = /^a+$/;\n\nconst b = text.match(/(\\d+)px/g) ?? text.split(/x*\\s+$/u);\nnew RegExp("a" + b);',
    );
    expect(made).toEqual(["some.ts:4"]);
    expect(await troublesOf(literals)).toEqual([
      expect.stringMatching(/^some\.ts:3 \/\(\\d\+\)px\/g: 2nd degree polynomial, try '/),
      expect.stringMatching(/^some\.ts:3 \/x\*\\s\+\$\/u: 2nd degree polynomial, try '/),
    ]);
    const lookahead = { where: "some.ts:1", source: "^a+(?=b)", flags: "" };
    expect(await troublesOf([lookahead])).toEqual([
      "some.ts:1 /^a+(?=b)/: not proved: look-ahead assertion",
    ]);
  });

  it("take linear time, every one of them", { timeout: 60_000 }, async () => {
    const literals = all.flatMap((found) => found.literals);
    expect(literals.length).toBeGreaterThan(50);
    expect(await troublesOf(literals)).toEqual([]);
  });

  it("are not made from strings, where foreign text is read", () => {
    const makers = all.filter(({ made }) => made.length > 0).map(({ file }) => file);
    expect(makers.sort()).toEqual(Object.keys(MADE_FROM_STRINGS));
  });
});
