/** A folder is a boundary only when something checks it: who may import whom, and who owns which package. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");

/** Room to the rooms that it may import. `cmd` may import all but `labs`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "lib/sockets": [],
  "lib/kernel": [],
  "lib/protocol": [],
  "lib/cli": [],
  "lib/lab": ["lib/sockets", "lib/kernel"],
  // Calls, packets and the socket table, recorded side by side in a sandbox.
  "lib/trace": ["lib/sockets", "lib/kernel"],
  "lib/labs": ["lib/lab", "lib/sockets", "lib/kernel", "lib/protocol"],
  "lib/programs": ["lib/lab", "lib/sockets", "lib/kernel", "lib/protocol"],
  "lib/report": ["lib/sockets"],
  cmd: [
    "lib/sockets",
    "lib/kernel",
    "lib/protocol",
    "lib/cli",
    "lib/lab",
    "lib/programs",
    "lib/report",
    "lib/trace",
  ],
};

/** report turns the data of every room into text: it knows the 11 states, and of all else only the types. */
const TYPES_ONLY: Readonly<Record<string, readonly string[]>> = {
  "lib/report": ["lib/kernel", "lib/protocol", "lib/lab", "lib/programs", "lib/trace"],
};

/** Package to the places that may import it. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  yargs: ["cmd", "lib/cli"],
  execa: ["lib/kernel", "lib/lab", "lib/sockets/capture.ts", "lib/trace"],
  cockatiel: ["lib/protocol"],
  chalk: ["lib/report"],
  "cli-table3": ["lib/report"],
};

type Import = {
  readonly from: string;
  readonly to: string;
  readonly isType: boolean;
  /** Loaded when it is needed: `await import()`. */
  readonly isLazy: boolean;
};

const files = ["cmd", "lib"].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => join(folder, file)),
);
const imports = files.flatMap(importsOf);

function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  const statics = text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)";/gms);
  const dynamics = text.matchAll(/(?<!typeof )\bimport\(\s*"([^"]+)"/g);
  return [
    ...[...statics].map(([, type, to]) => ({
      from: file,
      to: to!,
      isType: type !== undefined,
      isLazy: false,
    })),
    ...[...dynamics].map(([, to]) => ({ from: file, to: to!, isType: false, isLazy: true })),
  ].map((found) => ({
    ...found,
    to: found.to.startsWith(".")
      ? relative(ROOT, resolve(ROOT, dirname(file), found.to))
      : found.to,
  }));
}

function roomOf(file: string): string {
  const [top = "", room = ""] = file.split("/");
  return top === "lib" ? `lib/${room}` : top;
}

describe("rooms", () => {
  it("finds the imports that it is to judge", () => {
    expect(imports.length).toBeGreaterThan(100);
    expect(imports).toContainEqual({
      from: "cmd/client.ts",
      to: "lib/protocol/leave.ts",
      isType: false,
      isLazy: false,
    });
    expect(imports).toContainEqual({
      from: "cmd/bomb.ts",
      to: "lib/programs/bomb.ts",
      isType: false,
      isLazy: true,
    });
  });

  it("import only the rooms that they may", () => {
    const wrong = imports.filter(({ from, to, isType }) => {
      if (!to.startsWith("lib/") && !to.startsWith("cmd/")) return false;
      const [here, there] = [roomOf(from), roomOf(to)];
      if (here === there || here === "lib/testing") return false;
      const allowed = [...(MAY_IMPORT[here] ?? []), ...(isType ? (TYPES_ONLY[here] ?? []) : [])];
      return !allowed.includes(there);
    });
    expect(wrong).toEqual([]);
  });

  it("import only the packages that they own", () => {
    const wrong = imports.filter(({ from, to }) => {
      if (to.startsWith("lib/") || to.startsWith("cmd/") || to.startsWith("node:")) return false;
      if (from.startsWith("lib/testing/")) return false;
      return !(OWNERS[to] ?? []).some((place) => from === place || from.startsWith(`${place}/`));
    });
    expect(wrong).toEqual([]);
  });

  it("load no package, and nothing for a result, before a command knows what it is to do: --help stays fast", () => {
    const reached = (file: string, seen = new Set<string>()): ReadonlySet<string> => {
      if (seen.has(file)) return seen;
      seen.add(file);
      for (const { from, to, isType, isLazy } of imports)
        if (from === file && !isType && !isLazy) reached(to, seen);
      return seen;
    };
    const early = files
      .filter((file) => file.startsWith("cmd/"))
      .flatMap((file) => [...reached(file)])
      .filter((to) => to in OWNERS || roomOf(to) === "lib/report");
    expect(early).toEqual([]);
  });

  it("have no cycle, file by file", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to, isType } of imports)
      if (!isType) edges.set(from, [...(edges.get(from) ?? []), to]);
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      if (path.includes(file) || done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(cycles).toEqual([]);
  });
});
