import { describe, expect, it } from "vitest";
import { countStates, emptyCounts, TCP_STATES, totalOf, type SocketRecord } from "./record.ts";

const base: SocketRecord = {
  protocol: "tcp",
  family: 4,
  local: { address: "127.0.0.1", port: 80 },
  remote: { address: "127.0.0.1", port: 51650 },
  state: "ESTABLISHED",
  recvQ: 0,
  sendQ: 0,
  owners: [],
  line: 1,
};

describe("countStates", () => {
  it("always has all 11 states", () => {
    expect(Object.keys(countStates([])).sort()).toEqual([...TCP_STATES].sort());
    expect(TCP_STATES).toHaveLength(11);
  });

  it("counts TCP records, and neither UDP nor a TCP row without a state", () => {
    const records: SocketRecord[] = [
      base,
      { ...base, state: "TIME_WAIT" },
      { ...base, state: "TIME_WAIT" },
      { ...base, protocol: "udp" },
      { ...base, state: undefined },
    ];
    expect(countStates(records)).toEqual({ ...emptyCounts(), ESTABLISHED: 1, TIME_WAIT: 2 });
    expect(totalOf(countStates(records))).toBe(3);
  });
});
