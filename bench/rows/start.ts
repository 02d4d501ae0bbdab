/** start: how long the help of any command takes, beside Node that does nothing. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { command, timeMs } from "../lib/clock.ts";
import type { Contest, Figures } from "../lib/contest.ts";

const FOLDER = join(import.meta.dirname, "../../cmd");

/** The commands that were built, by name, from the files that the compiler has left. */
export function commandsIn(files: readonly string[]): readonly string[] {
  return files.flatMap((file) => /^(.+)\.js$/.exec(file)?.slice(1) ?? []);
}

/** All in turn, several times, and of each the fastest: the slowest help counts. */
function helps(rounds: number): Promise<Figures> {
  const names = commandsIn(readdirSync(FOLDER));
  const fastest = new Map<string, number>();
  const actions: [string, () => unknown][] = [
    ["node", command(process.execPath, "-e", "0")],
    ...names.map((name): [string, () => unknown] => [
      name,
      command(process.execPath, join(FOLDER, `${name}.js`), "--help"),
    ]),
  ];
  for (let round = 0; round < rounds; round += 1)
    for (const [name, action] of actions)
      fastest.set(name, Math.min(fastest.get(name) ?? Infinity, timeMs(action)));
  const slowest = Math.max(...names.map((name) => fastest.get(name) ?? NaN));
  return Promise.resolve({ ...Object.fromEntries(fastest), slowest });
}

export const startContest: Contest = {
  name: "start",
  load: { full: 5, quick: 1 },
  runs: 5,
  contestants: { helps: { run: helps } },
  lines: [
    {
      what: "--help, the slowest of all commands",
      unit: "ms",
      better: "less",
      ours: ["helps", "slowest"],
      peer: { name: "node -e 0", source: ["helps", "node"] },
      reach: { atMost: 150 },
      limit:
        "Node's own start. Help is printed from the flag table; yargs, which takes as long to load as Node takes to start, is loaded only when there is something to parse.",
    },
    {
      what: "the same: at most 3 times node -e 0",
      unit: "ms",
      better: "less",
      ours: ["helps", "slowest"],
      peer: { name: "node -e 0", source: ["helps", "node"] },
      reach: { ratio: 1 / 3 },
      limit: "The same.",
    },
  ],
};
