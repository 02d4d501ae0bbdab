/** load: finds the labs on disk. The engine knows none of them by name. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { NeedsError } from "../kernel/errors.ts";
import { stateNamed } from "../sockets/state-names.ts";
import { TAGS, type Lab } from "./define.ts";
import { EXPLAINED, isAskedFor } from "./symptoms.ts";

const FOLDER = new URL("../labs/", import.meta.url);

/** Names of all labs, sorted. */
export function labNames(): readonly string[] {
  return readdirSync(fileURLToPath(FOLDER))
    .filter((file) => /^[a-z0-9-]+\.[jt]s$/.test(file))
    .map((file) => file.slice(0, -3))
    .sort();
}

/** Loads one lab. Throws NeedsError when there is none of that name, with those that have it for a symptom, or else with all of them and all tags. */
export async function loadLab(name: string): Promise<Lab> {
  const names = labNames();
  if (!names.includes(name)) throw new NeedsError(await missing(name, names));
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const module = (await import(new URL(`${name}.${extension}`, FOLDER).href)) as { default: Lab };
  if (module.default.name !== name)
    throw new NeedsError(
      `lib/labs/${name}: its name is ${module.default.name}; file and name have to agree`,
    );
  return module.default;
}

/** What shows a symptom: labs, and pages in docs/explained/ about those that no lab can show safely. */
export type Showing = { readonly labs: readonly Lab[]; readonly pages: readonly string[] };

/** Those for what somebody sees: an errno, a counter, a state as their tool spells it, a line of a log. */
export async function showing(seen: string): Promise<Showing> {
  const state = stateNamed(seen);
  const isSeen = (symptom: string): boolean =>
    seen !== "" &&
    (state === undefined ? isAskedFor(symptom, seen) : symptom.split(/\W+/).includes(state));
  const labs = (await loadLabs()).filter(({ story }) => story.symptoms?.some(isSeen));
  const pages = [...EXPLAINED].filter(([symptom]) => isSeen(symptom)).map(([, page]) => page);
  return { labs, pages: [...new Set(pages)].map((page) => `docs/explained/${page}.md`) };
}

/** Somebody may have asked for what they see. */
async function missing(name: string, names: readonly string[]): Promise<string> {
  const { labs, pages } = await showing(name);
  const found = [
    ...(labs.length > 0 ? [`it is a symptom in: ${labs.map((lab) => lab.name).join(", ")}`] : []),
    ...pages.map((page) => `${page} explains it`),
  ];
  const start = `there is no lab ${JSON.stringify(name)}`;
  if (found.length > 0) return `${start}, but ${found.join("; ")}`;
  return `${start}, and no symptom of one; lab list has all ${names.length}, in ${Object.keys(TAGS).length} groups`;
}

/** Loads all labs, in the order of their names. */
export function loadLabs(): Promise<readonly Lab[]> {
  return Promise.all(labNames().map(loadLab));
}

/** Loads the labs that `words` name, and those that carry a tag among `words`; each once, in the order of the words. */
export async function chooseLabs(words: readonly string[]): Promise<readonly Lab[]> {
  const all = words.some(isTag) ? await loadLabs() : [];
  const chosen = await Promise.all(
    words.map(async (word) =>
      isTag(word)
        ? all.filter(({ tags }) => tags.some((tag) => tag === word))
        : [await loadLab(word)],
    ),
  );
  return [...new Set(chosen.flat())];
}

/** Is it the name of a lab, or of a group of them? */
export function isName(word: string): boolean {
  return labNames().includes(word) || isTag(word);
}

function isTag(word: string): boolean {
  return Object.hasOwn(TAGS, word);
}

/** The labs in groups: each under the first of its tags, in the order of the tags. */
export function grouped(
  labs: readonly Lab[],
): readonly (readonly [tag: string, about: string, labs: readonly Lab[]])[] {
  return Object.entries(TAGS)
    .map(([tag, about]) => [tag, about, labs.filter(({ tags }) => tags[0] === tag)] as const)
    .filter(([, , members]) => members.length > 0);
}
