import { closeSync, openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  descriptorLimit,
  freeDescriptors,
  openDescriptors,
  parseLimit,
  processStatus,
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
});
