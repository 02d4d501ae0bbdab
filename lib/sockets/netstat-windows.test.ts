import { describe, expect, it } from "vitest";
import { decodeText } from "./decode.ts";
import { parseNetstat } from "./parse.ts";

const crlf = (text: string): string => text.replaceAll("\n", "\r\n");

describe("parseNetstat on Windows", () => {
  it("reads rows with CRLF, brackets, zones and process ids", () => {
    const { records, format, udp } = parseNetstat(
      crlf(`
Active Connections

  Proto  Local Address          Foreign Address        State           PID
  TCP    0.0.0.0:135            0.0.0.0:0              LISTENING       1712
  TCP    [::1]:54878            [::1]:49154            CLOSE_WAIT      1234
  TCP    [fe80::1%11]:50000     [fe80::2%11]:445       FIN_WAIT_2      4
  TCP    10.0.0.2:50001         10.0.0.3:443           TIME_WAIT       0
  UDP    0.0.0.0:53             *:*                                    4808
`),
    );
    expect({ format, udp }).toEqual({ format: "netstat-windows", udp: 1 });
    expect(records).toMatchObject([
      {
        protocol: "tcp",
        family: 4,
        local: { address: "0.0.0.0", port: 135 },
        remote: { address: "0.0.0.0", port: null },
        state: "LISTEN",
        owners: [{ pid: 1712 }],
      },
      { family: 6, state: "CLOSE_WAIT", local: { address: "::1", port: 54878 } },
      { state: "FIN_WAIT2", local: { address: "fe80::1", zone: "11", port: 50000 } },
      { state: "TIME_WAIT", owners: [] },
      { protocol: "udp", state: undefined, owners: [{ pid: 4808 }] },
    ]);
  });

  it("takes a TCP row without a state for what it is: bound, but not listening", () => {
    const { records, unstated, counts } = parseNetstat(
      "  Proto  Local Address          Foreign Address        State           PID\n" +
        "  TCP    127.0.0.1:18789        0.0.0.0:0                              124\n",
    );
    expect(records).toMatchObject([{ state: undefined, owners: [{ pid: 124 }] }]);
    expect({ unstated, listen: counts.LISTEN }).toEqual({ unstated: 1, listen: 0 });
  });

  it("reads German states, from code page 850 too", () => {
    const text = `
Aktive Verbindungen

  Proto  Lokale Adresse         Remoteadresse          Status
  TCP    0.0.0.0:135            0.0.0.0:0              ABH*REN
  TCP    127.0.0.1:49181        127.0.0.1:49212        HERGESTELLT
  TCP    127.0.0.1:49186        127.0.0.1:49273        SCHLIESSEN_WARTEN
  TCP    10.0.0.2:50001         10.0.0.3:443           WARTEND
  TCP    10.0.0.2:50002         10.0.0.3:443           SYN_GESENDET
`;
    const counts = { LISTEN: 1, ESTABLISHED: 1, CLOSE_WAIT: 1, TIME_WAIT: 1, SYN_SENT: 1 };
    expect(parseNetstat(text.replace("*", "Ö")).counts).toMatchObject(counts);
    const cp850 = Buffer.from(text.replace("*", "\x99"), "latin1");
    expect(parseNetstat(decodeText(cp850))).toMatchObject({ counts, notes: [] });
  });

  it("knows a listener in any language: only that has no peer", () => {
    const { counts, notes } = parseNetstat(
      "  TCP    0.0.0.0:135            0.0.0.0:0              NASLOUCHÁNÍ     1712\n",
    );
    expect(counts.LISTEN).toBe(1);
    expect(notes).toEqual(['"NASLOUCHÁNÍ" is taken for LISTEN: those rows have no peer']);
  });

  it("reads a table whose header is translated altogether", () => {
    const { counts } = parseNetstat(`
活动连接

  协议  本地地址          外部地址        状态           PID
  TCP    0.0.0.0:80             0.0.0.0:0              LISTENING       2288
`);
    expect(counts.LISTEN).toBe(1);
  });

  it("refuses an unknown state of a row with a peer, quoting it", () => {
    expect(() =>
      parseNetstat("  TCP    10.0.0.2:50001    10.0.0.3:443    NAVÁZÁNO    1712\n"),
    ).toThrow(/unknown state "NAVÁZÁNO" \(line 1\)/);
  });

  it("gives the owner lines of -b to the row above, behind the marks of Select-String too", () => {
    const { records, skipped } = parseNetstat(
      `
>   TCP    0.0.0.0:135            0.0.0.0:0              LISTENING       564
    RpcSs
   [svchost.exe]
>   TCP    0.0.0.0:445            0.0.0.0:0              LISTENING       4
   Can not obtain ownership information
`,
    );
    expect(records).toMatchObject([
      { owners: [{ pid: 564, name: "svchost.exe" }] },
      { owners: [{ pid: 4 }] },
    ]);
    expect(skipped.filter(({ reason }) => reason === "owner of the row above")).toHaveLength(3);
  });

  it("reads the library lists that XP prints between the rows", () => {
    const { counts } = parseNetstat(
      `  TCP    pc:epmap               pc:0                   LISTENING       1044
  c:\\windows\\system32\\WS2_32.dll
  -- unknown component(s) --
  [svchost.exe]

  TCP    pc:1025                pc:1026                ESTABLISHED     1044
`,
    );
    expect(counts).toMatchObject({ LISTEN: 1, ESTABLISHED: 1 });
  });
});
