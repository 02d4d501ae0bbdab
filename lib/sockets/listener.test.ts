import { describe, expect, it } from "vitest";
import { listenerView } from "./listener.ts";
import { parseSs } from "./ss.ts";
import { takenPorts } from "./taken-ports.ts";

const TABLE = `State      Recv-Q Send-Q Local Address:Port  Peer Address:Port
LISTEN     3      2          127.0.0.1:8080       0.0.0.0:*
LISTEN     0      128          0.0.0.0:22         0.0.0.0:*
ESTAB      0      0          127.0.0.1:8080     127.0.0.1:40001
ESTAB      0      0          127.0.0.1:40001    127.0.0.1:8080
TIME-WAIT  0      0          127.0.0.1:40002    127.0.0.1:8080
TIME-WAIT  0      0          127.0.0.1:40003    127.0.0.1:9090
LISTEN     0      128          0.0.0.0:40004      0.0.0.0:*
`;
const { records } = parseSs(TABLE);

describe("listenerView", () => {
  it("tells the two ends of a connection apart by whose port it is", () => {
    const { server, clients } = listenerView(records, new Set([8080]));
    expect(server).toMatchObject({ LISTEN: 1, ESTABLISHED: 1, TIME_WAIT: 0 });
    expect(clients).toMatchObject({ LISTEN: 0, ESTABLISHED: 1, TIME_WAIT: 1 });
  });

  it("reads queue and backlog from the LISTEN row, and counts the other listeners", () => {
    expect(listenerView(records, new Set([8080]))).toMatchObject({
      queued: 3,
      backlog: 2,
      otherListeners: 2,
    });
  });
});

describe("takenPorts", () => {
  it("takes a port for connections to this destination and for listeners, not for other destinations", () => {
    expect([...takenPorts(records, "127.0.0.1", 8080)].sort()).toEqual([
      22, 40_001, 40_002, 40_004, 8080,
    ]);
  });

  it("knows an IPv4 address in its IPv6 clothes", () => {
    expect(takenPorts(records, "::ffff:127.0.0.1", 9090).has(40_003)).toBe(true);
  });
});
