import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { unlistedAfter, withUnlisted, type Unlisted } from "./counted.ts";
import type { KernelNumbers } from "./kernel-numbers.ts";
import { emptyCounts, TCP_STATES, type SocketRecord, type TcpState } from "./record.ts";

const endpoint = { address: "127.0.0.1", port: 80 };

function socket(state: TcpState, timer: string): SocketRecord {
  const base = { protocol: "tcp", family: 4, recvQ: 0, sendQ: 0, owners: [], line: 1 } as const;
  const isTimed = state === "TIME_WAIT" || (state === "FIN_WAIT2" && timer === "timewait");
  return {
    ...{ ...base, state, local: endpoint, remote: endpoint },
    ...(isTimed ? { timer: { name: "timewait", remainingMs: 1, retransmits: 0 } } : {}),
  };
}

/** What ss would list. */
function listed(sockets: readonly SocketRecord[]): Parameters<typeof withUnlisted>[0] {
  const counts = { ...emptyCounts() };
  for (const { state } of sockets) if (state !== undefined) counts[state] += 1;
  return { counts, records: sockets };
}

/** What the kernel counts: tcp_time_wait(), sock_prot_inuse_add() and TCP_MIB_CURRESTAB in net/ipv4. */
function numbersOf(sockets: readonly SocketRecord[]): KernelNumbers {
  const timed = sockets.filter(({ timer }) => timer?.name === "timewait").length;
  const halfOpen = sockets.filter(({ state }) => state === "SYN_RECV").length;
  const established = sockets.filter(
    ({ state }) => state === "ESTABLISHED" || state === "CLOSE_WAIT",
  ).length;
  const inUse = sockets.length - timed - halfOpen;
  return { timeWait: timed, established, inUse4: Math.ceil(inUse / 2), inUse6: inUse >> 1 };
}

const UNLISTED: readonly Unlisted[] = [
  ["ESTABLISHED", "TIME_WAIT"],
  ["ESTABLISHED", "FIN_WAIT2"],
  ["CLOSE_WAIT", "TIME_WAIT"],
  ["CLOSE_WAIT", "FIN_WAIT2"],
];

describe("withUnlisted", () => {
  const anySocket = fc
    .tuple(fc.constantFrom(...TCP_STATES), fc.constantFrom("off", "timewait"))
    .map(([state, timer]) => socket(state, timer));

  it.each(UNLISTED)("finds out how many are in %s and %s without a list of them", (...unlisted) => {
    fc.assert(
      fc.property(fc.array(anySocket, { maxLength: 100 }), (sockets) => {
        const rest = sockets.filter(({ state }) => !unlisted.some((name) => name === state));
        const counts = withUnlisted(listed(rest), unlisted, numbersOf(sockets));
        expect(counts).toEqual(listed(sockets).counts);
      }),
    );
  });

  it("says so when the kernel lacks a number, and never counts below zero", () => {
    const none = { established: 0, timeWait: 0, inUse4: 0, inUse6: undefined };
    const some = listed([socket("CLOSE_WAIT", "off"), socket("LISTEN", "off")]);
    const unlisted = unlistedAfter(undefined);
    expect(withUnlisted(some, unlisted, { ...none, established: undefined })).toBeUndefined();
    expect(withUnlisted(some, unlisted, none)).toMatchObject({ ESTABLISHED: 0, CLOSE_WAIT: 1 });
  });
});

describe("unlistedAfter", () => {
  it("leaves out the state of each pair that has more sockets", () => {
    expect(unlistedAfter(undefined)).toEqual(["ESTABLISHED", "TIME_WAIT"]);
    const leak = { ...emptyCounts(), ESTABLISHED: 1, CLOSE_WAIT: 23, FIN_WAIT2: 23 };
    expect(unlistedAfter(leak)).toEqual(["CLOSE_WAIT", "FIN_WAIT2"]);
  });
});
