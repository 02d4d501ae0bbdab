import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { killAll, lastJson, run, startServer, type Finished } from "../lib/testing/programs.ts";

afterEach(killAll);

type Fields = Record<string, unknown>;

const page = readFileSync(new URL("../docs/reference/json.md", import.meta.url), "utf8");

/** The words that the section of a command has in code. */
function documented(heading: string): ReadonlySet<string> {
  const [, section] = page.split(`\n## ${heading} --json\n`);
  if (section === undefined) throw new Error(`docs/reference/json.md has no ${heading}`);
  const code = section.split("\n## ")[0]?.match(/`[^`]+`/g) ?? [];
  return new Set(code.join(" ").match(/\w+/g));
}

const FEW = ["--connections", "5"];

describe("docs/reference/json.md", () => {
  it.each([
    ["client", (port: string) => run("client", ["--json", "--port", port])],
    ["bomb", (port: string) => run("bomb", ["--json", "--count", "23", "--port", port])],
    ["multiplex", () => run("multiplex", ["--json", ...FEW])],
  ])("names every field that %s --json prints, and each has a version", async (name, running) => {
    const server = await startServer();
    expectDocumented(name, lastJson(await running(`${server.port}`)));
  });

  it("names every field of both lines of the server's, and each has a version", async () => {
    const server = await startServer();
    server.child.kill("SIGTERM");
    for (const line of linesOf(await server.finished)) expectDocumented("server", line);
  });

  it("names every field of the server's lines and the client's with --protocol json", async () => {
    const server = await startServer(["--protocol", "json"]);
    const port = ["--port", `${server.port}`];
    const short = ["--duration-ms", "100", "--warmup-ms", "0", ...FEW];
    const measured = await run("client", ["performance", "--json", ...port, ...short]);
    expectDocumented("client performance", lastJson(measured));
    const [step] = linesOf(await run("client", ["demo", "--json", ...port]));
    expectDocumented("client demo", step ?? {});
    server.child.kill("SIGTERM");
    for (const line of linesOf(await server.finished)) expectDocumented("server", line);
  });

  it("names every field of lab list", async () => {
    const { stdout } = await run("lab", ["list", "--json"]);
    for (const lab of JSON.parse(stdout) as Fields[]) expectDocumented("lab list", lab);
  });
});

function linesOf({ stdout }: Finished): readonly Fields[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Fields);
}

function expectDocumented(heading: string, printed: Fields): void {
  expect(printed["version"]).toBe(1);
  const words = documented(heading);
  const fields = Object.keys(printed).filter((field) => field !== "version");
  expect(fields.filter((field) => !words.has(field))).toEqual([]);
}
