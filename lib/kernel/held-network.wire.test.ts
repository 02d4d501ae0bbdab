import { readdirSync, readlinkSync } from "node:fs";
import { execa } from "execa";
import { beforeAll, describe, expect, it } from "vitest";
import { until } from "../testing/programs.ts";
import { HeldNetwork } from "./held-network.ts";
import { commandLine } from "./process.ts";
import { findRung, sandboxCommand, type Rung } from "./sandbox.ts";

let rung: Rung | undefined;
let cannotSandbox: string | undefined;
beforeAll(async () => {
  rung = await findRung().catch((error: unknown) => {
    cannotSandbox = (error as Error).message;
    return undefined;
  });
});

/** A cat in a network of its own, which is told; it ends when its stdin does. */
async function stranger(): Promise<{ netns: string; end: () => Promise<unknown> }> {
  const script = "readlink /proc/self/ns/net; exec cat";
  const [file = "", ...args] = sandboxCommand(rung!, ["sh", "-c", script]);
  const child = execa(file, args, { stdin: "pipe", reject: false });
  const lines: string[] = [];
  child.stdout.on("data", (chunk: Buffer) => lines.push(chunk.toString()));
  await until(
    () => lines.length,
    (count) => count > 0,
  );
  const end = (): Promise<unknown> => {
    child.stdin.end();
    return child;
  };
  return { netns: lines[0]!.trim(), end };
}

/** What this process has open. */
function openHere(): readonly string[] {
  return readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "closed again: that of the listing";
    }
  });
}

describe("HeldNetwork", () => {
  it("names those who live in it, and nobody when they have ended", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { netns, end } = await stranger();
    const held = HeldNetwork.find(netns)!;
    await until(
      () => held.pids().map((pid) => commandLine(pid)[0]),
      (names) => names.join() === "cat",
    );
    await end();
    expect(held.pids()).toEqual([]);
    held.letGo();
  });

  // The kernel gives a number out again when nobody has its network open any more: at once, or a second later.
  it("has the network open, ended or not, until it lets go", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { netns, end } = await stranger();
    const held = HeldNetwork.find(netns)!;
    await end();
    expect(openHere()).toContain(netns);
    held.letGo();
    expect(openHere()).not.toContain(netns);
  });

  it("finds nothing where nobody lives", () => {
    expect(HeldNetwork.find("net:[1]")).toBeUndefined();
  });
});
