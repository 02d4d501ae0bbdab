import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { TCP_STATES } from "../lib/sockets/record.ts";

const page = readFileSync(new URL("states.md", import.meta.url), "utf8");
const arrows = new Set([...page.matchAll(/^ {2}(\w+ --> \w+) :/gm)].map(([, arrow]) => arrow));

const STATES = TCP_STATES.join("|");
/** A packet or a timer of a recorded timeline, with the states of client and server after it. */
const ROW = new RegExp(`^ *-?[\\d.]+ .* (${STATES}) +(${STATES})$`, "gm");

describe("docs/states.md", () => {
  it("has an arrow for every change of state in the recorded timelines, but those by a RST", () => {
    const seen = readdirSync(new URL("trace/", import.meta.url)).flatMap((file) => {
      const text = readFileSync(new URL(`trace/${file}`, import.meta.url), "utf8");
      return changesOf([...text.matchAll(ROW)]);
    });
    expect(seen).toContain("LAST_ACK --> CLOSE");
    expect(seen.filter((change) => !arrows.has(change))).toEqual([]);
  });
});

function changesOf(rows: readonly RegExpExecArray[]): readonly string[] {
  return rows.slice(1).flatMap(([row, ...after], index) => {
    const [, ...before] = rows[index] ?? [];
    if (row.includes("RST")) return [];
    return after.flatMap((state, side) =>
      state === before[side] ? [] : [`${before[side] ?? ""} --> ${state}`],
    );
  });
}
