import { describe, expect, it } from "vitest";
import fc from "fast-check";
import {
  listenerView,
  ProcListenerTally,
  procListenerView,
  procListeningPorts,
} from "./listener.ts";
import { parseProcNet } from "./proc-net.ts";
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

  it("reads the queue from the LISTEN row, and counts the other listeners", () => {
    expect(listenerView(records, new Set([8080]))).toMatchObject({ queued: 3, otherListeners: 2 });
  });
});

describe("procListenerView", () => {
  const hex = (value: number, digits: number): string =>
    value.toString(16).toUpperCase().padStart(digits, "0");
  const port = fc.constantFrom(22, 8080, 40_001, 65_535);
  const row = fc.record({
    sl: fc.nat(99_999),
    ip: fc.constantFrom("0100007F", "00000000", "00000000000000000000000001000000"),
    local: port,
    remote: port,
    state: fc.integer({ min: 1, max: 12 }),
    queue: fc.nat(9),
  });
  const table = fc
    .array(row)
    .map((rows) =>
      [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        ...rows.map(
          ({ sl, ip, local, remote, state, queue }) =>
            `${String(sl).padStart(4)}: ${ip}:${hex(local, 4)} ${ip}:${hex(remote, 4)} ${hex(state, 2)} ` +
            `00000000:${hex(queue, 8)} 00:00000000 00000000     0        0 ${sl} 1 ffff888100000000 100 0 0 10 0`,
        ),
        "",
      ].join("\n"),
    );

  it("sees the same in /proc/net/tcp as the parser and listenerView together", () => {
    fc.assert(
      fc.property(table, (text) => {
        const ports = new Set([8080, 65_535]);
        expect(procListenerView([text], ports)).toEqual(
          listenerView(parseProcNet(text).records, ports),
        );
      }),
    );
  });

  it("sees the same when a table comes in pieces, wherever between two lines it is cut", () => {
    fc.assert(
      fc.property(table, table, fc.nat(99), (tcp, tcp6, cut) => {
        const ports = new Set([8080, 65_535]);
        const tally = new ProcListenerTally(ports);
        const lines = tcp.split(/(?<=\n)/);
        tally.add(lines.slice(0, cut).join(""));
        tally.add(lines.slice(cut).join(""));
        tally.add(tcp6);
        expect(tally.view()).toEqual(procListenerView([tcp, tcp6], ports));
      }),
    );
  });
});

describe("procListenerView in a network without strangers", () => {
  const row = (local: number, remote: number, state: string): string =>
    `   0: 0100007F:${local.toString(16).toUpperCase().padStart(4, "0")} ` +
    `0100007F:${remote.toString(16).toUpperCase().padStart(4, "0")} ${state} 00000000:00000000 ` +
    "00:00000000 00000000     0        0 1 1 ffff888100000000 100 0 0 10 0\n";
  // A listener, both ends of a connection to it, and a connection to a host that nobody looks into.
  const text = `  sl  local_address ...\n${row(8080, 0, "0A")}${row(8080, 40_001, "01")}${row(40_001, 8080, "08")}${row(40_002, 443, "02")}`;

  it("takes whoever has none of the ports for a client", () => {
    const { clients, server } = procListenerView([text], new Set([8080]), "clients");
    expect(clients).toMatchObject({ CLOSE_WAIT: 1, SYN_SENT: 1, LISTEN: 0 });
    expect(server).toMatchObject({ LISTEN: 1, ESTABLISHED: 1 });
    expect(procListenerView([text], new Set([8080])).clients.SYN_SENT).toBe(0);
  });

  it("finds the ports by themselves", () => {
    expect([...procListeningPorts([text, ""])]).toEqual([8080]);
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
