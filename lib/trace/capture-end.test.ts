import { describe, expect, it } from "vitest";
import { withoutMark } from "./capture-end.ts";

/** A file as tcpdump writes it on this machine. */
function file(...packets: readonly string[]): Buffer {
  const header = Buffer.alloc(24);
  const records = packets.map((text) => {
    const data = Buffer.from(text);
    const head = new Uint32Array([1, 2, data.length, data.length]);
    return Buffer.concat([Buffer.from(head.buffer), data]);
  });
  return Buffer.concat([header, ...records]);
}

describe("withoutMark", () => {
  const mark = "header tcp-failure-lab: end of capture";

  it("takes our own datagrams out of a capture, and nothing else", () => {
    expect(withoutMark(file("one", mark, mark, "two"))).toEqual(file("one", "two"));
    expect(withoutMark(file("one", "two"))).toEqual(file("one", "two"));
    expect(withoutMark(file())).toEqual(file());
  });
});
