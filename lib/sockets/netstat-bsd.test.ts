import { describe, expect, it } from "vitest";
import { parseNetstat } from "./parse.ts";

const BANNER = "Active Internet connections (including servers)\n";
const HEADER = "Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n";

describe("parseNetstat on BSD and macOS", () => {
  it("takes the port behind the last dot", () => {
    const { records, format } = parseNetstat(
      `${BANNER}${HEADER}tcp4       0     28  192.168.135.119.49922  2.21.181.49.443        ESTABLISHED
tcp46      0      0  *.22                   *.*                    LISTEN
tcp6       0      0  ::1.6012               *.*                    LISTEN
tcp6       0      0  fe80::1%lo0.1024       fe80::1%lo0.1025       FIN_WAIT_2
udp4       0      0  *.514                  *.*
`,
    );
    expect(format).toBe("netstat-bsd");
    expect(records[0]).toEqual({
      protocol: "tcp",
      family: 4,
      local: { address: "192.168.135.119", port: 49922 },
      remote: { address: "2.21.181.49", port: 443 },
      state: "ESTABLISHED",
      recvQ: 0,
      sendQ: 28,
      owners: [],
      line: 3,
    });
    expect(records.slice(1)).toMatchObject([
      { family: 6, local: { address: "*", port: 22 }, remote: { address: "*", port: null } },
      { family: 6, local: { address: "::1", port: 6012 } },
      { state: "FIN_WAIT2", local: { address: "fe80::1", port: 1024, zone: "lo0" } },
      { protocol: "udp", state: undefined },
    ]);
  });

  it("reads plain tcp as HP-UX and OpenBSD print it, and wider columns", () => {
    const { records } = parseNetstat(
      `Active Internet connections
Proto   Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp          0      0  127.0.0.1.61115        127.0.0.1.4506         ESTABLISHED
`,
    );
    expect(records).toMatchObject([{ family: undefined, local: { port: 61115 } }]);
  });

  it("marks an IPv6 address that was cut before its port", () => {
    const { records } = parseNetstat(
      `${HEADER}tcp6       0      0  fe80::87e6:73b7:.1024  fe80::6767:806c:.1024  SYN_SENT\n`,
    );
    expect(records[0]).toMatchObject({
      state: "SYN_SENT",
      local: { address: "fe80::87e6:73b7:", port: 1024, truncated: true },
    });
  });

  it("skips a PCB address and a flow hash, and marks what fills their narrow column", () => {
    const { records } = parseNetstat(
      `Active Internet connections
Socket           Flowhash Proto Recv-Q Send-Q  Local Address      Foreign Address    (state)
7fb03cb94d505aed cedd0cbf tcp4       0      0  192.168.1.221.5486 140.82.113.26.443  ESTABLISHED
7fb03cb939ad73cd        0 icm4    8136      0  *.*                *.*
`,
    );
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({
      local: { address: "192.168.1.221", port: 5486, truncated: true },
      remote: { address: "140.82.113.26", port: 443 },
    });
    expect(records[0]?.remote).not.toHaveProperty("truncated");
  });

  it.each([
    [
      "-T",
      `Tcpcb            Proto Rexmit OOORcv 0-win  Local Address      Foreign Address
fffff80003df43d0 tcp4       3      0      0 192.168.71.1.ssh   192.168.71.1.64330
fffff80003ae81e8 udp4                       *.syslog           *.*
`,
    ],
    [
      "-x",
      `Tcpcb            Proto Recv-Q Send-Q Local Address      Foreign Address    R-MBUF S-MBUF R-CLUS S-CLUS
fffff80003df43d0 tcp4       0      0 192.168.71.1.ssh   192.168.71.1.64330      0      0      0      0
fffff80003ae81e8 udp4       0      0 *.syslog           *.*                     0      0      0      0
`,
    ],
  ])("has no states to read in the layout of FreeBSD's %s, and says so", (_, text) => {
    expect(parseNetstat(BANNER + text)).toMatchObject({
      unstated: 1,
      udp: 1,
      records: [{ local: { address: "192.168.71.1", port: "ssh" } }, { protocol: "udp" }],
      notes: ["this layout of netstat (-T, -x) has no states: its TCP rows are in no count"],
    });
  });

  it("reads the queues of listeners that -L prints", () => {
    const { records } = parseNetstat(
      `Current listen queue sizes (qlen/incqlen/maxqlen)
Proto Listen                           Local Address
tcp4  3/0/128                          *.22
unix  0/0/30                           /var/run/devd.pipe
`,
    );
    expect(records).toMatchObject([
      { state: "LISTEN", recvQ: 3, sendQ: 128, local: { address: "*", port: 22 } },
    ]);
    const mac =
      "Current listen queue sizes (qlen/incqlen/maxqlen)\nListen         Local Address\n1/0/128        *.49152\n";
    expect(parseNetstat(mac).records).toMatchObject([{ state: "LISTEN", recvQ: 1 }]);
  });

  it.each([
    [
      "Mojave to Sonoma",
      `Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)     rhiwat shiwat    pid   epid  state    options
tcp4       0      0  127.0.0.1.49515        127.0.0.1.49472        ESTABLISHED 408008 146988  22712      0 0x0102 0x00000000
`,
      { pid: 22712 },
    ],
    [
      "Sequoia",
      `Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)      rxbytes      txbytes  rhiwat  shiwat    pid   epid state  options
tcp4       0      0  127.0.0.1.49515        127.0.0.1.49472        ESTABLISHED   118268        40208  408008  146988  22712      0 00002 00000000
`,
      { pid: 22712 },
    ],
    [
      "Tahoe",
      `Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)          rxbytes      txbytes  rhiwat  shiwat          process:pid    state  options           gencnt    flags   flags1 usecnt rtncnt fltrs
tcp4       0      0  127.0.0.1.49515        127.0.0.1.49472        ESTABLISHED       118268        40208  408008  146988  Autodesk Fusion:22712  00002 00000000 000000000025c5ff 00000081 04000800      3      0 000000
`,
      { pid: 22712, name: "Autodesk Fusion" },
    ],
  ])("finds the process in the columns of macOS %s", (_, text, owner) => {
    const { records } = parseNetstat(`Active Internet connections\n${text}`);
    expect(records).toMatchObject([{ state: "ESTABLISHED", owners: [owner] }]);
  });

  it("skips the sections that are not about the internet", () => {
    const { records, skipped } = parseNetstat(
      `Active Internet connections
${HEADER}tcp4       0      0  127.0.0.1.49515        127.0.0.1.49472        CLOSED
Active Multipath Internet connections
Proto/ID  Flags      Local Address          Foreign Address        (state)
Active LOCAL (UNIX) domain sockets
Address          Type   Recv-Q Send-Q            Inode             Conn             Refs          Nextref Addr
7fb03cb94a63a7cd stream      1      0                0 7fb03cb94a63cedd                0                0
Registered kernel control modules
id       flags    pcbcount rcvbuf   sndbuf   name
       1        9        0   131072   131072 com.apple.flow-divert
`,
    );
    expect(records).toMatchObject([{ state: "CLOSE" }]);
    expect(skipped[6]?.reason).toBe("section: Active LOCAL (UNIX) domain sockets");
  });

  it("reads rows without a header, as grep leaves them", () => {
    const row = "tcp6       0      0  ::1.49152              ::1.631                ESTABLISHED\n";
    expect(parseNetstat(row)).toMatchObject({
      format: "netstat-bsd",
      records: [{ local: { address: "::1", port: 49152 } }],
    });
  });

  it("reads past the star of a hidden state, at the word or behind the blanks of its column", () => {
    const { records } = parseNetstat(
      `Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)          pid
tcp4       0      0  10.0.0.1.49515         10.0.0.9.443           SYN_SENT*        22
tcp4       0      0  10.0.0.1.49516         10.0.0.9.443           CLOSE_WAIT *     23
tcp4       0      0  10.0.0.1.49517         10.0.0.9.443           ESTABLISHED      24
`,
    );
    expect(records.map(({ state, owners }) => [state, owners[0]?.pid])).toEqual([
      ["SYN_SENT", 22],
      ["CLOSE_WAIT", 23],
      ["ESTABLISHED", 24],
    ]);
    const row = "tcp4 0 0 10.0.0.1.49515 10.0.0.9.443 SYN_SENT*\n";
    expect(parseNetstat(row).counts.SYN_SENT).toBe(1);
  });

  it("refuses an unknown state, quoting the row", () => {
    expect(() => parseNetstat(`${HEADER}tcp4 0 0 *.22 *.* FIN_WAIT_9\n`)).toThrow(
      'netstat-bsd: unknown state "FIN_WAIT_9" (line 2): "tcp4 0 0 *.22 *.* FIN_WAIT_9"',
    );
  });
});
