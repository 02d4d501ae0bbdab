import { describe, expect, it } from "vitest";
import { ParseError } from "./parse-error.ts";
import { readTimer, readUsers } from "./ss-details.ts";
import { countSockets } from "./parse.ts";
import { parseSs } from "./ss.ts";

describe("parseSs", () => {
  it("reads a table without a Netid column", () => {
    const { records, counts } = parseSs(
      `State      Recv-Q Send-Q Local Address:Port               Peer Address:Port
SYN-SENT   0      1      172.27.233.198:46460              10.1.1.1:8080
LISTEN     2      1                127.0.0.1:37423            0.0.0.0:*
`,
    );
    expect(records[0]).toEqual({
      protocol: "tcp",
      family: 4,
      local: { address: "172.27.233.198", port: 46460 },
      remote: { address: "10.1.1.1", port: 8080 },
      state: "SYN_SENT",
      recvQ: 0,
      sendQ: 1,
      owners: [],
      line: 2,
    });
    expect(counts).toMatchObject({ SYN_SENT: 1, LISTEN: 1 });
  });

  it("reads the queue columns of a listener: connections that wait, and how many may", () => {
    const [record] = parseSs("LISTEN 2 1 127.0.0.1:37423 0.0.0.0:*\n").records;
    expect(record).toMatchObject({
      recvQ: 2,
      sendQ: 1,
      remote: { address: "0.0.0.0", port: null },
    });
  });

  it("counts a UDP row that says ESTAB as UDP", () => {
    const { counts, udp } = parseSs(
      `Netid  State      Recv-Q Send-Q     Local Address:Port       Peer Address:Port
udp    ESTAB      0      0              127.0.0.1:48135         127.0.0.1:8125
tcp    TIME-WAIT  0      0              127.0.0.1:80            127.0.0.1:51650
`,
    );
    expect(udp).toBe(1);
    expect(counts).toMatchObject({ ESTABLISHED: 0, TIME_WAIT: 1 });
  });

  it.each(["nl", "u_str", "u_dgr", "v_str", "p_raw", "icmp6", "mptcp", "ipproto-47"])(
    "skips a %s row with the reason, though it says ESTAB",
    (netid) => {
      const { records, skipped } = parseSs(
        `Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port
${netid}  ESTAB    0        0      999900439:1023    0:976
tcp    LISTEN   0        128      127.0.0.53%lo:domain      0.0.0.0:*
`,
      );
      expect(records).toHaveLength(1);
      expect(skipped[1]).toMatchObject({ line: 2, reason: `${netid}: not TCP or UDP` });
    },
  );

  it("reads a header and an owner column glued to their neighbours", () => {
    const { records } = parseSs(
      `Netid State  Recv-Q Send-Q                    Local Address:Port  Peer Address:PortProcess
tcp   LISTEN 0      80                              0.0.0.0:3306       0.0.0.0:*    users:(("mariadbd",pid=1978620,fd=15)) uid:105 ino:815317211 sk:2004 cgroup:/system.slice/mariadb.service <->
`,
    );
    expect(records[0]).toMatchObject({
      state: "LISTEN",
      local: { port: 3306 },
      owners: [{ name: "mariadbd", pid: 1978620, fd: 15 }],
      uid: 105,
      inode: 815317211,
      details: { sk: "2004", cgroup: "/system.slice/mariadb.service" },
    });
  });

  it("reads Netid and state glued together", () => {
    const { records } = parseSs(
      `NetidState      Recv-Q Send-Q Local Address:Port Peer Address:Port
tcpESTAB     0  0  192.168.1.160:45986          54.200.178.216:443
tcpSYN-SENT  0  1  192.168.1.160%enp61s0:36590  138.201.81.199:80
udpUNCONN    0  0  0.0.0.0:68                   0.0.0.0:*
`,
    );
    expect(records.map(({ protocol, state }) => [protocol, state])).toEqual([
      ["tcp", "ESTABLISHED"],
      ["tcp", "SYN_SENT"],
      ["udp", undefined],
    ]);
    expect(records[1]?.local).toEqual({ address: "192.168.1.160", port: 36590, zone: "enp61s0" });
  });

  it("reads a state glued to Recv-Q, the 1 and 2 of FIN-WAIT not taken for a queue", () => {
    const { records } = parseSs(
      "tcp FIN-WAIT-10 1 127.0.0.1:80 127.0.0.1:5000\nSYN-SENT0 1 10.0.0.1:4000 10.0.0.2:80\n",
    );
    expect(records).toMatchObject([
      { state: "FIN_WAIT1", recvQ: 0, sendQ: 1 },
      { state: "SYN_SENT", recvQ: 0, sendQ: 1 },
    ]);
  });

  it("reads rows without a state, and says that they are in no count", () => {
    const { records, unstated, notes } = parseSs(
      `Netid            Recv-Q Send-Q  Local Address:Port Peer Address:Port
tcp              0      128     *:22               *:*                 users:(("sshd",3965,3)) ino:11604 sk:ffff88013a3b5800
`,
    );
    expect(records[0]).toMatchObject({
      state: undefined,
      recvQ: 0,
      sendQ: 128,
      local: { address: "*", port: 22 },
      owners: [{ name: "sshd", pid: 3965, fd: 3 }],
    });
    expect(unstated).toBe(1);
    expect(notes).toEqual([
      "rows without a state, as `ss state ...` prints them: these are in no count",
    ]);
  });

  it("reads a table without Netid as TCP, and says that UNCONN makes it doubtful", () => {
    const text =
      "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nUNCONN 0 0 0.0.0.0:68 0.0.0.0:*\n";
    expect(parseSs(text)).toMatchObject({
      counts: { CLOSE: 1 },
      notes: ["no Netid column: read as TCP, but UNCONN rows are what `ss -u` prints"],
    });
    expect(parseSs("tcp UNCONN 0 0 0.0.0.0:68 0.0.0.0:*\n").notes).toEqual([]);
  });

  it("refuses a row whose details never end, instead of keeping them all", () => {
    const row = "ESTAB 0 0 127.0.0.1:1 127.0.0.1:2";
    const details = Array.from({ length: 200_000 }, (_, number) => `\tkey${number}:1`);
    expect(() => parseSs([row, ...details].join("\n"))).toThrow(/more than 1 MiB of details/);
    expect(parseSs([row, ...details.slice(0, 1_000), row].join("\n")).records).toHaveLength(2);
  });

  it("gives details on the next line to the row above, and takes the congestion control for one", () => {
    const { records, skipped } = parseSs(
      `ESTAB    0         0                127.0.0.1:30013          127.0.0.1:55494
\t cubic wscale:7,7 rto:204 rtt:0.017/0.008 send 154202352941bps app_limited rcv_space:65483
ESTAB    0         0                127.0.0.1:55494          127.0.0.1:30013
`,
    );
    expect(records).toHaveLength(2);
    expect(records[0]?.details).toEqual({
      congestion: "cubic",
      wscale: "7,7",
      rto: "204",
      rtt: "0.017/0.008",
      send: "154202352941bps",
      app_limited: "",
      rcv_space: "65483",
    });
    expect(records[1]).not.toHaveProperty("details");
    expect(skipped).toMatchObject([{ line: 2, reason: "details of the row above" }]);
  });

  it.each([
    ["[::1]:8009", { address: "::1", port: 8009 }, 6],
    [":::6380", { address: "::", port: 6380 }, 6],
    ["::ffff:1.2.3.4:5678", { address: "::ffff:1.2.3.4", port: 5678 }, 6],
    ["[fe80::1]%eth0:546", { address: "fe80::1", port: 546, zone: "eth0" }, 6],
    ["fe80::a00:27ff:fe1c:3c4:123", { address: "fe80::a00:27ff:fe1c:3c4", port: 123 }, 6],
    ["127.0.0.53%lo:domain", { address: "127.0.0.53", port: "domain", zone: "lo" }, 4],
    ["*:6379", { address: "*", port: 6379 }, undefined],
  ])("reads the endpoint %s", (word, local, family) => {
    const [record] = parseSs(`LISTEN 0 128 ${word} *:*\n`).records;
    expect(record).toMatchObject({ local, family });
  });

  it("gives a process with a line break in its name all of it, and loses no row for that", () => {
    const text = `State Recv-Q Send-Q Local Address:Port Peer Address:Port Process
LISTEN 0 5 127.0.0.1:7102 0.0.0.0:* users:(("new
line",pid=4481,fd=3),("new
line",pid=4482,fd=3)) ino:23
LISTEN 0 5 127.0.0.1:7101 0.0.0.0:* users:(("cut o
LISTEN 0 5 127.0.0.1:7100 0.0.0.0:* users:(("a b",pid=4479,fd=3))
`;
    const { records, rows, lines, skipped } = parseSs(text);
    expect(records.map(({ owners }) => owners)).toEqual([
      [
        { name: "new\nline", pid: 4481, fd: 3 },
        { name: "new\nline", pid: 4482, fd: 3 },
      ],
      [],
      [{ name: "a b", pid: 4479, fd: 3 }],
    ]);
    expect(records[0]).toMatchObject({ inode: 23 });
    expect(rows + skipped.length).toBe(lines);
    expect(countSockets(text).counts.LISTEN).toBe(3);
  });

  it("refuses a row with an unknown state, quoting it", () => {
    const text = "ESTAB 0 0 1.1.1.1:1 2.2.2.2:2\nESTABLISHING 0 0 127.0.0.1:80 127.0.0.1:51650\n";
    const error = thrownBy(() => parseSs(text));
    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({
      code: "TFL_PARSE",
      line: 2,
      text: "ESTABLISHING 0 0 127.0.0.1:80 127.0.0.1:51650",
      message:
        'ss: unknown state or Netid "ESTABLISHING" (line 2): "ESTABLISHING 0 0 127.0.0.1:80 127.0.0.1:51650"',
    });
  });

  it("refuses a row that breaks off behind its queues", () => {
    expect(() => parseSs("ESTAB 0 0 1.1.1.1:1 2.2.2.2:2\nESTAB 0 0\n")).toThrow(
      /no local address with a port \(line 2\)/,
    );
  });

  it("takes text without rows for an empty table when ss was asked for", () => {
    expect(parseSs("")).toMatchObject({ records: [], lines: 0, format: undefined });
  });
});

describe("readUsers", () => {
  it("reads both syntaxes, several owners, and names with blanks and brackets", () => {
    expect(readUsers('(("sshd",1231,3))')).toEqual([{ name: "sshd", pid: 1231, fd: 3 }]);
    expect(readUsers('(("nginx",pid=583,fd=8),("nginx: (w) 1",pid=582,fd=8))')).toEqual([
      { name: "nginx", pid: 583, fd: 8 },
      { name: "nginx: (w) 1", pid: 582, fd: 8 },
    ]);
  });

  it("skips the security context that -Z puts between", () => {
    expect(readUsers('(("sshd",pid=1,proc_ctx=system_u:r:sshd_t:s0,fd=3))')).toEqual([
      { name: "sshd", pid: 1, fd: 3 },
    ]);
  });
});

describe("readTimer", () => {
  it.each([
    ["(keepalive,119min,0)", { name: "keepalive", remainingMs: 7_140_000, retransmits: 0 }],
    ["(timewait,59sec,0)", { name: "timewait", remainingMs: 59_000, retransmits: 0 }],
    ["(on,1min59sec,3)", { name: "on", remainingMs: 119_000, retransmits: 3 }],
    ["(persist,208ms,0)", { name: "persist", remainingMs: 208, retransmits: 0 }],
    ["(on,9.123ms,1)", { name: "on", remainingMs: 9_123, retransmits: 1 }],
  ])("reads %s", (text, timer) => {
    expect(readTimer(text)).toEqual(timer);
  });
});

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}
