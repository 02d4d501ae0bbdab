import { describe, expect, it } from "vitest";
import { emptyCounts } from "../sockets/record.ts";
import {
  accountTable,
  compactCounts,
  groupsTable,
  reconcileTable,
  statesTable,
} from "./states-table.ts";

const counts = { ...emptyCounts(), ESTABLISHED: 16, TIME_WAIT: 3 };
const view = {
  counts,
  unstated: 0,
  from: "ss -tan",
  blindSpots: ["Owners of other users' sockets need root."],
  notes: [],
};

describe("statesTable", () => {
  it("shows all 11 states, a total, the source and what it cannot see", () => {
    expect(statesTable(view, { color: false })).toMatchInlineSnapshot(`
      "STATE        COUNT  MEANING
      ESTABLISHED     16  open, data flows
      SYN_SENT         0  connecting: no answer yet
      SYN_RECV         0  being connected to: last ACK missing
      FIN_WAIT1        0  we closed, peer has not acknowledged
      FIN_WAIT2        0  we closed, peer has not
      TIME_WAIT        3  closed by us first, 4-tuple kept for 60 s
      CLOSE            0  bound or opened, not connected
      CLOSE_WAIT       0  peer closed, our program has not
      LAST_ACK         0  closed by both, last ACK missing
      LISTEN           0  waits for connections
      CLOSING          0  both closed at once, ACK missing
      19 TCP sockets, from: ss -tan
      Owners of other users' sockets need root."
    `);
  });

  it("dims zeros where colour is allowed, and has no escape sequence where it is not", () => {
    expect(statesTable(view, { color: true })).toContain("\u001B[2mSYN_SENT");
    expect(statesTable(view, { color: false })).not.toContain("\u001B");
  });

  it("stays within 80 columns, whatever it is told", () => {
    const wide = {
      ...view,
      counts: { ...counts, SYN_RECV: 123_456_789 },
      before: counts,
      unstated: 4,
      from: "x".repeat(200),
      notes: ["a note that is long ".repeat(20).trim(), "y".repeat(200)],
    };
    for (const line of statesTable(wide, { color: false }).split("\n"))
      expect(line.length).toBeLessThanOrEqual(80);
  });

  it("breaks a long note between its words, and loses none", () => {
    const note = Array.from({ length: 40 }, (_, index) => `word${index}`).join(" ");
    const lines = statesTable({ ...view, notes: [note] }, { color: false }).split("\n");
    const from = lines.findIndex((line) => line.startsWith("word0 "));
    expect(lines.slice(from).join("\n").replaceAll("\n  ", " ")).toBe(note);
    expect(lines.length).toBeGreaterThan(from + 1);
  });

  it("speaks of one socket as of one", () => {
    const one = { ...view, counts: { ...emptyCounts(), LISTEN: 1 } };
    expect(statesTable(one, { color: false })).toContain("\n1 TCP socket, from: ss -tan\n");
  });

  it("puts a note of several lines into its own", () => {
    const text = statesTable({ ...view, notes: ["one\ntwo"] }, { color: false });
    expect(text).toMatch(/^one two$/m);
  });

  it("shows what changed since the look before", () => {
    const text = statesTable(
      { ...view, before: { ...counts, TIME_WAIT: 10, LISTEN: 0, ESTABLISHED: 14 } },
      { color: false },
    );
    expect(text).toMatch(/^STATE +COUNT +CHANGE +MEANING$/m);
    expect(text).toMatch(/ESTABLISHED +16 +\+2 /);
    expect(text).toMatch(/TIME_WAIT +3 +-7 /);
    expect(text).toMatch(/LISTEN +0 +waits/);
  });

  it("says how many rows had no state", () => {
    expect(statesTable({ ...view, unstated: 4 }, { color: false })).toContain(
      "4 more whose state the text does not show.",
    );
  });
});

describe("groupsTable", () => {
  it("shows key, total and the states that are not zero, within 80 columns", () => {
    const text = groupsTable(
      [
        { key: ":8080", counts, total: 19 },
        { key: `${"long-name-".repeat(5)} (12)`, counts, total: 19 },
      ],
      { by: "port", color: false },
    );
    expect(text).toContain(":8080");
    expect(text).toMatch(/ESTABLISHED=16, TIME_WAIT=3/);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });
});

describe("groupsTable by address", () => {
  it("shows an IPv6 address whole, and all states beside it", () => {
    const keys = ["1", "2"].map((end) => `2001:db8:1111:2222:3333:4444:5555:666${end}`);
    const all = { ...emptyCounts(), ESTABLISHED: 1, FIN_WAIT2: 2, CLOSE_WAIT: 3, TIME_WAIT: 4 };
    const text = groupsTable(
      keys.map((key) => ({ key, counts: all, total: 10 })),
      { by: "remote", color: false },
    );
    for (const key of keys) expect(text).toContain(key);
    expect(text).toMatch(/ESTABLISHED=1,[^]*FIN_WAIT2=2,[^]*TIME_WAIT=4,[^]*CLOSE_WAIT=3/);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });

  it("lets no name of a process reach the terminal as anything but text", () => {
    const group = { key: "\u001B[2Jred\n (4711)", counts, total: 19 };
    const text = groupsTable([group], { by: "process", color: false });
    expect(text).toMatch(/^\\u001b\[2Jred\\u000a \(4711\) +19 /m);
  });
});

describe("compactCounts", () => {
  it("shows what is not zero, and what has just become zero", () => {
    expect(compactCounts(counts, { ...counts, LISTEN: 1, TIME_WAIT: 1 })).toBe(
      "ESTABLISHED=16 TIME_WAIT=3(+2) LISTEN=0(-1)",
    );
    expect(compactCounts(emptyCounts())).toBe("none");
  });
});

describe("accountTable", () => {
  it("says what became of every line", () => {
    const tally = {
      format: "ss",
      counts,
      unstated: 0,
      udp: 0,
      rows: 44,
      lines: 89,
      skippedByReason: new Map([
        ["header", 1],
        ["details of the row above", 44],
      ]),
      notes: [],
    };
    expect(accountTable(tally)).toBe(
      [
        "   LINES  WHAT BECAME OF THEM",
        "      44  sockets",
        "      44  skipped: details of the row above",
        "       1  skipped: header",
        "      89  in all",
      ].join("\n"),
    );
  });
});

describe("reconcileTable", () => {
  it("shows every observer, every reason and a verdict, within 80 columns", () => {
    const text = reconcileTable(
      {
        columns: ["proc", "ss", "netstat", "lsof", "fd"].map((observer) => ({ observer, counts })),
        kernel: [{ name: "sockstat tw", value: 3, predicted: 4, meaning: "kept as TIME_WAIT" }],
        differences: [
          {
            observer: "lsof",
            count: 3,
            reason: "TIME_WAIT: gone",
            isExplained: true,
            examples: [],
          },
          {
            observer: "ss",
            count: 1,
            reason: "not seen",
            isExplained: false,
            examples: ["a:1 b:2"],
          },
        ],
        inMotion: 2,
        isReconciled: false,
      },
      { color: false, notes: ["netstat is not installed (package net-tools)"] },
    );
    expect(text).toMatch(/^STATE +proc +ss +netstat +lsof +fd$/m);
    expect(text).toMatch(/^all +19 +19 +19 +19 +19$/m);
    expect(text).toContain("lsof: 3 TIME_WAIT: gone\nUNEXPLAINED ss: 1 not seen (a:1 b:2)");
    expect(text).toContain("sockstat tw = 3, the table says 4: kept as TIME_WAIT");
    expect(text).toContain(
      "\n2 sockets came, went or changed meanwhile: left out\nnetstat is not installed (package net-tools)\n",
    );
    expect(text).toMatch(/There are unexplained differences\.$/);
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  });
});
