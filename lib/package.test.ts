import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  bin: Record<string, string>;
  exports: Record<string, string>;
  dependencies: Record<string, string>;
};

const sourceOf = (built: string): string =>
  join(ROOT, built.replace(/^(\.\/)?dist\//, "").replace(/\.js$/, ".ts"));

describe("package", () => {
  it("has a bin for every executable, each with its shebang", () => {
    const executables = readdirSync(join(ROOT, "cmd")).filter((file) => /^[a-z]+\.ts$/.test(file));
    const bins = Object.values(manifest.bin).map((built) =>
      built.replace("dist/cmd/", "").replace(".js", ".ts"),
    );
    expect([...bins].sort()).toEqual(executables.sort());
    for (const built of Object.values(manifest.bin))
      expect(readFileSync(sourceOf(built), "utf8"), built).toMatch(/^#!\/usr\/bin\/env node\n/);
  });

  it("exports rooms that exist", () => {
    for (const [name, built] of Object.entries(manifest.exports))
      if (built.endsWith(".js")) expect(existsSync(sourceOf(built)), name).toBe(true);
  });

  it("depends on five packages at run time, no more", () => {
    expect(Object.keys(manifest.dependencies)).toEqual([
      "chalk",
      "cli-table3",
      "cockatiel", // back-off and circuit breaker of the protocol's client; no dependencies of its own
      "execa",
      "yargs",
    ]);
  });

  it("starts every executable and every lab with a man page: its name, and what it does in one line", () => {
    const files = ["cmd", "lib/labs"].flatMap((folder) =>
      readdirSync(join(ROOT, folder))
        .filter((file) => /^[a-z-]+\.ts$/.test(file))
        .map((file) => ({ folder, file })),
    );
    for (const { folder, file } of files) {
      const text = readFileSync(join(ROOT, folder, file), "utf8");
      expect(text, file).toMatch(new RegExp(`^(#!.*\\n)?/\\*\\*\\n \\* ${file.slice(0, -3)}: \\w`));
    }
  });
});

describe("documents", () => {
  const pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].concat(
    readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".md"))
      .map((file) => join("docs", file)),
  );

  it("lead from a symptom to every failure that is explained, too", () => {
    const symptoms = readFileSync(join(ROOT, "docs/symptoms.md"), "utf8");
    for (const page of readdirSync(join(ROOT, "docs/explained")))
      expect(symptoms).toMatch(new RegExp(`^\\| .* \\[.*\\]\\(explained/${page}\\)`, "m"));
  });

  it("link to files that exist", () => {
    const links = pages.flatMap((page) =>
      [...readFileSync(join(ROOT, page), "utf8").matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
        .map(([, target]) => ({ page, target: target! }))
        .filter(({ target }) => !target.startsWith("http")),
    );
    expect(links.length).toBeGreaterThan(50);
    expect(links.filter(({ page, target }) => !existsSync(join(ROOT, page, "..", target)))).toEqual(
      [],
    );
  });
});
