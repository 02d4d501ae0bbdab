/** The registry and its documentation: every fact of formats.md that has a home in the code is compared with it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SOURCE_BLIND_SPOTS, SOURCES } from "./blind-spots.ts";
import { FORMATS, formatsNamed } from "./formats.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/reference/formats.md"), "utf8");

describe("docs/reference/formats.md", () => {
  it("has a section for every format, in the order of the registry", () => {
    const sections = [...page.matchAll(/^## (\S+)$/gm)].map(([, name]) => name);
    expect(sections).toEqual(FORMATS.map(({ name }) => name));
  });

  it("says of every format what it cannot see", () => {
    const parts = page.split(/^## /m).filter((part) => /^\S+\n/.test(part));
    for (const part of parts) expect(part).toContain("**Cannot see**:");
  });

  it("has the blind spots of every live source, word for word", () => {
    for (const source of SOURCES)
      for (const sentence of SOURCE_BLIND_SPOTS[source]) expect(page).toContain(sentence);
  });
});

describe("formatsNamed", () => {
  it("knows formats by their own name and by their tool", () => {
    expect(formatsNamed("netstat")?.map(({ name }) => name)).toEqual([
      "netstat-linux",
      "netstat-bsd",
      "netstat-solaris",
      "netstat-windows",
    ]);
    expect(formatsNamed("auto")).toEqual(FORMATS);
    expect(formatsNamed("tally")).toHaveLength(1);
    expect(formatsNamed("ifconfig")).toBeUndefined();
  });
});
