import { describe, expect, it } from "vitest";
import { happeningsIn } from "./poll-text.ts";

describe("happeningsIn", () => {
  it.each([
    ["1 ([{fd=3, revents=POLLIN}])", [{ fd: 3, events: "POLLIN" }]],
    [
      "2 ([{fd=3<TCP:[127.0.0.1:1->127.0.0.1:2]>, revents=POLLIN|POLLHUP}, {fd=5<pipe:[7]>, revents=POLLOUT}])",
      [
        { fd: 3, events: "POLLIN|POLLHUP" },
        { fd: 5, events: "POLLOUT" },
      ],
    ],
    [
      "3 (in [3<TCP:[127.0.0.1:1->[::1]:2]> 4<UDP:[5]>], out [6], left {tv_sec=1, tv_usec=23})",
      [
        { fd: 3, events: "in" },
        { fd: 4, events: "in" },
        { fd: 6, events: "out" },
      ],
    ],
    ["0 (Timeout)", []],
    ["-1 EINTR (Interrupted system call)", []],
    ["1", []],
  ])("reads %s", (result, happenings) => {
    expect(happeningsIn(result)).toEqual(happenings);
  });
});
