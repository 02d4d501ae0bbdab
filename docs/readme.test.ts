import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { blockOf, BLOCKS, bombExcerpt, demoExcerpt, leakExcerpt, shapeOf } from "./readme.ts";

const README = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

describe("what README.md shows of its own programs", () => {
  it.each(BLOCKS)("stands between markers, and has a shape: $name", ({ name, frame }) => {
    expect(shapeOf(blockOf(README, name), frame).length).toBeGreaterThan(4);
  });

  it("has the same shape when only numbers, times and widths differ", () => {
    const frame = /^lab |of \d+ /;
    const shape = shapeOf("lab      claims  seconds\nulimit  11 of 11      5.2\n  more", frame);
    expect(shape).toEqual(["lab claims seconds", "ulimit # of # #"]);
    expect(shapeOf("lab  claims  seconds\nulimit  9 of 9  11.0", frame)).toEqual(shape);
    expect(shapeOf("lab  claims  time\nulimit  9 of 9  11 ms", frame)).not.toEqual(shape);
  });

  it("leaves the fixed arms and the other labs of the demo out, and says so", () => {
    const demo = "broken  one\ncontrol two\n\nfixed   three\n\n fd-leak\nlab   arms\nulimit 4\n";
    expect(demoExcerpt(demo)).toBe("broken  one\ncontrol two\n\n[...]\n\nlab   arms\nulimit 4\n");
  });

  it("leaves progress out, and says so once", () => {
    const bomb = "Prediction: none\n9 connections  9/s\n1,008 connections  9/s\npredicted  none";
    expect(bombExcerpt(bomb)).toBe("Prediction: none\n[...]\npredicted  none");
  });

  it("takes from a leaking server what it says of descriptors, and not its beginning", () => {
    const server = "server: listening on x\n127.0.0.1:8080  accepted 0\nOut of descriptors";
    const text = leakExcerpt(`SERVER\n${server}\nSTATES\nSTATE  COUNT\nRSTS\nTcpOutRsts 4`);
    expect(text).toContain("```text\nOut of descriptors\n```");
    expect(text).toContain("```text\nSTATE  COUNT\n```");
    expect(text).toContain("```text\nTcpOutRsts 4\n```");
    expect(text).not.toContain("accepted");
  });

  it("is missed when its markers are", () => {
    expect(() => blockOf("# Nothing", "demo")).toThrow("<!-- demo -->");
  });
});
