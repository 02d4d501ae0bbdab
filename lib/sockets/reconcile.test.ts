import { describe, expect, it } from "vitest";
import { reconcile, type Observations } from "./reconcile.ts";
import type { SocketRecord, TcpState } from "./record.ts";

function socket(port: number, state: TcpState, more: Partial<SocketRecord> = {}): SocketRecord {
  return {
    protocol: "tcp",
    family: 4,
    local: { address: "127.0.0.1", port },
    remote: { address: "127.0.0.1", port: 50_000 },
    state,
    recvQ: 0,
    sendQ: 0,
    owners: [{ pid: 7, name: "node", fd: 3 }],
    line: 1,
    inode: 1_000 + port,
    ...more,
  };
}

const held = socket(1, "ESTABLISHED");
const timeWait = socket(2, "TIME_WAIT", { inode: 0, owners: [] });
const queued = socket(3, "ESTABLISHED", { inode: 0, owners: [] });
const closed = socket(4, "FIN_WAIT1", { inode: 0, owners: [] });
const foreign = socket(5, "ESTABLISHED", { owners: [] });
const all = [held, timeWait, queued, closed, foreign];

const observed = (more: Partial<Observations>): Observations => ({
  before: all,
  after: all,
  others: [],
  kernel: [],
  ...more,
});

describe("reconcile", () => {
  it("has nothing to explain where all observers agree", () => {
    const result = reconcile(observed({ others: [{ observer: "ss", records: all }] }));
    expect(result).toMatchObject({ differences: [], inMotion: 0, isReconciled: true });
    expect(result.columns.map(({ observer, counts }) => [observer, counts.ESTABLISHED])).toEqual([
      ["proc", 3],
      ["ss", 3],
    ]);
  });

  it("gives for every socket that lsof does not list the reason in one sentence", () => {
    const { differences, isReconciled } = reconcile(
      observed({ others: [{ observer: "lsof", records: [held] }] }),
    );
    expect(isReconciled).toBe(true);
    expect(differences.map(({ count, reason }) => `${count} ${reason}`)).toEqual([
      "1 TIME_WAIT: closed on both sides, no process holds it any more",
      "1 waits for accept(): it has no descriptor yet",
      "1 closed by its program: the kernel finishes alone, without a descriptor",
      "1 held where we cannot look: by a process of another user or container, on its way to one, or by the kernel",
    ]);
  });

  it.each([
    ["SYN_RECV", "SYN_RECV: not connected yet, it belongs to its listener"],
    ["CLOSE_WAIT", "waits for accept(): it has no descriptor yet"],
    ["FIN_WAIT2", "closed by its program: the kernel finishes alone, without a descriptor"],
    ["CLOSING", "closed by its program: the kernel finishes alone, without a descriptor"],
    ["LAST_ACK", "closed by its program: the kernel finishes alone, without a descriptor"],
    ["CLOSE", "closed by its program: the kernel finishes alone, without a descriptor"],
  ] as const)("knows why nobody holds one in %s", (state, reason) => {
    const table = [socket(6, state, { inode: 0, owners: [] })];
    const others = [{ observer: "fd", records: [] } as const];
    const { differences } = reconcile(observed({ before: table, after: table, others }));
    expect(differences).toMatchObject([{ count: 1, reason, isExplained: true }]);
  });

  it("explains nothing away: a socket that lsof should list is named", () => {
    const { differences, isReconciled } = reconcile(
      observed({ others: [{ observer: "lsof", records: [] }] }),
    );
    expect(isReconciled).toBe(false);
    expect(differences.find(({ isExplained }) => !isExplained)).toMatchObject({
      observer: "lsof",
      count: 1,
      examples: ["127.0.0.1:1 127.0.0.1:50000 ESTABLISHED"],
    });
  });

  it("does not excuse ss with reasons that only hold for lsof", () => {
    const records = all.filter((record) => record !== timeWait);
    const { isReconciled } = reconcile(observed({ others: [{ observer: "ss", records }] }));
    expect(isReconciled).toBe(false);
  });

  it("counts what several processes hold once, and says that lsof lists it for each", () => {
    const records = [held, { ...held, owners: [{ pid: 8, name: "child", fd: 3 }] }];
    const { differences } = reconcile(
      observed({ before: [held], after: [held], others: [{ observer: "lsof", records }] }),
    );
    expect(differences).toMatchObject([{ count: 1, isExplained: true }]);
    expect(differences[0]?.reason).toContain("another process that holds the same socket");
  });

  it("leaves out what changed while the observers looked", () => {
    const later = socket(6, "ESTABLISHED");
    const { differences, inMotion } = reconcile(
      observed({
        before: [held, { ...later, state: "SYN_SENT" }],
        after: [held, later],
        others: [{ observer: "ss", records: [held, later] }],
      }),
    );
    expect({ differences, inMotion }).toEqual({ differences: [], inMotion: 2 });
    // One that was closed after ss had listed it.
    const others = [{ observer: "ss", records: [held, later] } as const];
    expect(reconcile(observed({ before: [held, later], after: [held], others }))).toMatchObject({
      differences: [],
      inMotion: 1,
      isReconciled: true,
    });
  });

  it("compares two listeners that look the same by their number", () => {
    const twin = socket(80, "LISTEN");
    const { differences } = reconcile(
      observed({
        before: [twin, twin],
        after: [twin, twin],
        others: [{ observer: "netstat", records: [{ ...twin, inode: 1 }] }],
      }),
    );
    expect(differences).toMatchObject([{ count: 1, isExplained: false }]);
  });

  it("fails where a number of the kernel is not what its table predicts", () => {
    const kernel = [
      { name: "sockstat tw", value: 2, meaning: "TIME_WAIT", predict: (): number => 1 },
    ];
    expect(reconcile(observed({ kernel }))).toMatchObject({
      kernel: [{ name: "sockstat tw", value: 2, predicted: 1 }],
      isReconciled: false,
    });
  });
});
