import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { kernelMemory, pageBytes, pageBytesIn } from "./memory.ts";

const bytesOf = (...words: readonly bigint[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array(new BigUint64Array(words).buffer);

describe("the size of a page", () => {
  it.each([4_096n, 16_384n, 65_536n])("is %i bytes where the kernel says so", (bytes) => {
    // The value of another entry looks like the type that is looked for.
    expect(pageBytesIn(bytesOf(17n, 6n, 6n, bytes, 0n, 0n))).toBe(Number(bytes));
  });

  it("is 4,096 bytes where it is not said", () => {
    expect(pageBytesIn(bytesOf(17n, 6n, 0n, 0n))).toBe(4_096);
  });

  it("of this kernel is what getconf says", () => {
    expect(pageBytes()).toBe(Number(execFileSync("getconf", ["PAGESIZE"])));
  });
});

describe("kernelMemory", () => {
  it("counts buffers in whole pages", () => {
    const { slabBytes, bufferBytes } = kernelMemory();
    expect(slabBytes).toBeGreaterThan(0);
    expect(bufferBytes % pageBytes()).toBe(0);
  });
});
