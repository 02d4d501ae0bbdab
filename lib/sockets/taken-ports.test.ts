import { describe, expect, it } from "vitest";
import { parseSs } from "./ss.ts";
import { takenPorts } from "./taken-ports.ts";

const { records } = parseSs(`Netid State     Recv-Q Send-Q Local Address:Port  Peer Address:Port
tcp   LISTEN    0      128          0.0.0.0:22         0.0.0.0:*
tcp   LISTEN    0      128             [::]:40001         [::]:*
tcp   ESTAB     0      0          127.0.0.1:40002    127.0.0.1:8080
tcp   TIME-WAIT 0      0          127.0.0.1:40003    127.0.0.1:8080
tcp   ESTAB     0      0          127.0.0.1:40004    127.0.0.2:8080
tcp   ESTAB     0      0          127.0.0.1:40005    127.0.0.1:9090
udp   ESTAB     0      0          127.0.0.1:40006    127.0.0.1:8080
`);
describe("ports that connect() will not choose", () => {
  it("are those of listeners, and of TCP connections to the same address and port", () => {
    expect([...takenPorts(records, "127.0.0.1", 8080)]).toEqual([22, 40_001, 40_002, 40_003]);
  });

  it("are those of an address with a zone, which the table does not show", () => {
    const table = parseSs(`tcp ESTAB 0 0 [fe80::1]:40002 [fe80::2]:8080\n`);
    expect([...takenPorts(table.records, "fe80::2%eth0", 8080)]).toEqual([40_002]);
  });

  it("are not those in TIME_WAIT where tcp_tw_reuse gives them back", () => {
    expect([...takenPorts(records, "127.0.0.1", 8080, "come back")]).toEqual([22, 40_001, 40_002]);
  });
});
