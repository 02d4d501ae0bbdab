import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { commandsIn } from "./start.ts";

it("starts every command that there is", () => {
  const sources = readdirSync(join(import.meta.dirname, "../../cmd"));
  const names = sources.flatMap((file) => /^([^.]+)\.ts$/.exec(file)?.slice(1) ?? []);
  const built = names.flatMap((name) => [`${name}.d.ts`, `${name}.js`]);
  expect(commandsIn(built)).toEqual(names);
  expect(names).toContain("trace");
});
