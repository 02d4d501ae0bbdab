import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  descriptorLimit,
  freeDescriptors,
  openDescriptors,
  parseLimit,
  processStatus,
  processTrouble,
} from "./process.ts";
import { openProcFile } from "./procfile.ts";

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 524288               files
`;

describe("parseLimit", () => {
  it("reads soft and hard, and takes unlimited for Infinity", () => {
    expect(parseLimit(LIMITS, "Max open files")).toEqual({ soft: 1_024, hard: 524_288 });
    expect(parseLimit(LIMITS, "Max cpu time")).toEqual({ soft: Infinity, hard: Infinity });
  });
  it("refuses a row that is not there", () => {
    expect(() => parseLimit(LIMITS, "Max sockets")).toThrow(RangeError);
  });
});

describe("openDescriptors", () => {
  it("counts 23 more when 23 more are open", () => {
    const before = openDescriptors();
    const { soft } = descriptorLimit();
    const room = freeDescriptors("self", soft);
    expect(room).toBe(soft - before);
    const opened = Array.from({ length: 23 }, () => openSync("/dev/null", "r"));
    expect(openDescriptors() - before).toBe(23);
    expect(room - freeDescriptors("self", soft)).toBe(23);
    opened.forEach((descriptor) => closeSync(descriptor));
    expect(openDescriptors()).toBe(before);
  });
});

describe("processTrouble", () => {
  const gone = Object.assign(new Error("no such file or directory"), { code: "ENOENT" });
  const signals = vi.spyOn(process, "kill");
  afterEach(() => void signals.mockReset());

  it.each([
    ["ESRCH", "there is no process 4711"],
    ["EPERM", "process 4711 belongs to somebody else; try as root, or as its user"],
  ])("knows by a signal that answers %s whether /proc hides a process: %s", (code, message) => {
    signals.mockImplementation(() => {
      throw Object.assign(new Error(code), { code });
    });
    expect(processTrouble(4711, gone)).toMatchObject({ message });
    expect(signals.mock.calls).toEqual([[4711, 0]]);
  });

  it("does not call a process of the same user somebody else's", () => {
    const refused = Object.assign(new Error("permission denied"), { code: "EACCES" });
    expect((processTrouble(process.pid, refused) as Error).message).toContain("may do more than");
  });
});

describe("processStatus", () => {
  it("sees this process: threads, and memory in bytes", () => {
    const { threads, rssBytes } = processStatus();
    expect(threads).toBeGreaterThan(1);
    expect(rssBytes).toBeGreaterThan(10_000_000);
  });
});

describe("openProcFile", () => {
  it("reads anew each time from a descriptor that stays open", () => {
    const file = openProcFile("/proc/self/stat");
    const before = openDescriptors();
    expect(file.read()).toMatch(new RegExp(`^${process.pid} `));
    expect(file.read()).toMatch(new RegExp(`^${process.pid} `));
    expect(openDescriptors()).toBe(before);
    file.close();
  });

  it("hands on a long file in pieces of whole lines, as often as it is asked to", async () => {
    const path = join(import.meta.dirname, "../../package-lock.json");
    const file = openProcFile(path);
    for (const round of [1, 2]) {
      const pieces: string[] = [];
      for await (const piece of file.pieces()) pieces.push(piece);
      expect(pieces.length).toBeGreaterThan(1);
      expect(pieces.every((piece) => piece.endsWith("\n") && piece.length <= 131_072)).toBe(true);
      expect(pieces.join(""), `round ${round}`).toBe(readFileSync(path, "latin1"));
    }
    file.close();
  });
});
