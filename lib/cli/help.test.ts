import { describe, expect, it } from "vitest";
import { choice, flag, integer, toggle, words } from "./flags.ts";
import { helpText } from "./help.ts";
import { groupHelp } from "./main.ts";

const text = helpText({
  name: "knock",
  summary: "knock on a door until somebody opens it or until there is no more time left for it",
  flags: {
    port: flag(integer(1, 65_535), 80, { about: "Door", metavar: "N", env: "PORT", alias: "p" }),
    loud: toggle({ about: "Use the other hand" }),
    whom: flag(words, "anybody at all", {
      about: "Whom to ask for, by the name beside the bell",
      metavar: "NAME",
    }),
  },
  words: "[DOOR..]",
  examples: [
    ["knock", "once"],
    ["knock --whom 'the old woman who lives next door to the church'", "nobody else"],
    ["knock --loud", "so that everybody in the house hears it, from the cellar up to the roof"],
  ],
});

describe("helpText", () => {
  it("shows every flag with its value, its letter, its variable and its default", () => {
    expect(text).toContain("Usage: knock [flags] [DOOR..]\n");
    expect(text).toContain("  -p, --port N     Door (env PORT) [default: 80]\n");
    expect(text).toContain("      --loud       Use the other hand\n");
    expect(text).toContain("      --help       Show this help\n");
  });

  it("says what each value of a flag means that has few", () => {
    const how = { metavar: "HOW", meanings: { softly: "with a finger", hard: "with a fist" } };
    const flags = {
      how: flag(choice("softly", "hard"), "hard", { about: "How: see below", ...how }),
    };
    expect(
      helpText({ name: "knock", summary: "knock", flags, examples: [["knock", "once"]] }),
    ).toContain("\nHOW of --how:\n  softly  with a finger\n  hard    with a fist\n");
  });

  it("fits into 80 columns, with what does not fit below itself, and a default never torn apart", () => {
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(text).toContain("\n                   [default: anybody at all]\n");
    expect(text).toContain("\n  knock         # once\n");
  });

  it("puts the comment below an example that is too long to stand beside it", () => {
    expect(text).toContain(
      "\n  knock --whom 'the old woman who lives next door to the church'\n                # nobody else\n",
    );
  });
});

describe("groupHelp", () => {
  it("tells each command in 80 columns", () => {
    const summary =
      "a door that opens by itself for whoever knows the right word, and for nobody else";
    const door = { name: "house door", summary, main: () => Promise.resolve(0) };
    const text = groupHelp({ name: "house", summary: "doors and windows", commands: [door] });
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(text).toContain("\n  house door  a door that opens");
  });
});
