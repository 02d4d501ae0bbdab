import { describe, expect, it } from "vitest";
import { countSockets, parseLsof } from "./parse.ts";

describe("parseLsof, table", () => {
  it("reads process, descriptor, endpoints and state", () => {
    const { records } = parseLsof(
      `COMMAND PID     USER   FD   TYPE DEVICE SIZE/OFF NODE NAME
node      4     1000   19u  IPv4 111453      0t0  TCP 127.0.0.1:35603 (LISTEN)
node      4     1000   27u  IPv6 111461      0t0  TCP [::1]:43024->[::1]:39295 (ESTABLISHED)
node      4     1000   28u  IPv6 111462      0t0  UDP *:5353
`,
    );
    expect(records).toEqual([
      {
        protocol: "tcp",
        family: 4,
        local: { address: "127.0.0.1", port: 35603 },
        remote: { address: "*", port: null },
        state: "LISTEN",
        recvQ: undefined,
        sendQ: undefined,
        owners: [{ name: "node", pid: 4, fd: 19 }],
        line: 2,
        inode: 111453,
      },
      expect.objectContaining({
        family: 6,
        remote: { address: "::1", port: 39295 },
        state: "ESTABLISHED",
      }),
      expect.objectContaining({ protocol: "udp", state: undefined }),
    ]);
  });

  it("notes shared sockets of a list of any length, as far as its memory goes", () => {
    const row = (pid: number, device: number): string =>
      `node ${pid} 1000 19u IPv4 ${device} 0t0 TCP 127.0.0.1:35603 (LISTEN)\n`;
    const rows = Array.from({ length: 100_001 }, (_, device) => row(4, device)).join("");
    const { counts, notes } = countSockets(`${rows}${row(5, 0)}${row(5, 100_000)}`, "lsof");
    expect(counts.LISTEN).toBe(100_003);
    expect(notes).toEqual([
      "lsof lists descriptors: at least 1 shared socket is counted once for each holder",
    ]);
  });

  it("counts a descriptor once that is listed for every thread", () => {
    const { records, skipped } = parseLsof(
      `COMMAND     PID   TID             USER   FD      TYPE DEVICE SIZE/OFF       NODE NAME
container  1112                   root   10u     IPv4  25911      0t0        TCP localhost:42351 (LISTEN)
container  1112  1130             root   10u     IPv4  25911      0t0        TCP localhost:42351 (LISTEN)
container  1112  1131 containerd  root   10u     IPv4  25911      0t0        TCP localhost:42351 (LISTEN)
`,
    );
    expect(records).toHaveLength(1);
    expect(skipped.slice(1)).toMatchObject([
      { line: 3, reason: "the same descriptor, seen from another thread" },
      { line: 4, reason: "the same descriptor, seen from another thread" },
    ]);
  });

  it("counts a socket that two processes share for each of them, and says so", () => {
    const { counts, notes } = parseLsof(
      `COMMAND    PID  TID    USER   FD      TYPE             DEVICE  SIZE/OFF       NODE NAME
sshd      4314         root    3u     IPv4              44866       0t0        TCP localhost.localdomain:ssh->192.168.71.1:58727 (ESTABLISHED)
sshd      4318      kbrazil    3u     IPv4              44866       0t0        TCP localhost.localdomain:ssh->192.168.71.1:58727 (ESTABLISHED)
`,
    );
    expect(counts.ESTABLISHED).toBe(2);
    expect(notes).toEqual([
      "lsof lists descriptors: 1 shared socket is counted once for each holder",
    ]);
  });

  it("reads past warnings before the header, and files among the sockets", () => {
    const { counts, skipped } = parseLsof(
      `lsof: WARNING: can't stat() sysfs file system /sys
      Output information may be incomplete.
COMMAND       PID     USER   FD      TYPE             DEVICE  SIZE/OFF       NODE NAME
systemd         1        0  cwd       DIR              253,0       251        128 /
systemd         1        0   19u     unix 0xffff998f20251f80       0t0  132266239 /run/systemd/journal/stdout type=STREAM
neutron-n 975   root    5u  IPv4  6482691    0t0        TCP *:http (LISTEN)
`,
    );
    expect(counts.LISTEN).toBe(1);
    expect(skipped).toHaveLength(5);
  });

  it("reads a name with escaped blanks, and states with the queues of -T", () => {
    const { records } = parseLsof(
      "Google\\x20C 501 me 23u IPv4 0x9ae0a7f8 0t0 TCP 10.0.0.2:50100->10.0.0.3:443 (ESTABLISHED QR=0 QS=0)\n",
    );
    expect(records[0]).toMatchObject({
      state: "ESTABLISHED",
      owners: [{ name: "Google C", pid: 501, fd: 23 }],
    });
  });

  it.each([
    ["FILE-FLAG", "RW,ND,CX 60727530 0t0"],
    ["FILE-FLAG", "0x80802;0x0 60727530 0t0"],
    ["NLINK", "60727530 0t0"],
  ])("reads a row with a column of %s", (column, words) => {
    const header = `COMMAND PID USER FD TYPE ${column === "NLINK" ? "" : `${column} `}DEVICE SIZE/OFF NODE NAME\n`;
    const { records } = parseLsof(
      `${header}node 14064 root 19u IPv4 ${words} TCP 127.0.0.1:43925 (LISTEN)\n`,
    );
    expect(records).toMatchObject([
      { state: "LISTEN", inode: 60727530, owners: [{ pid: 14064, fd: 19 }] },
    ]);
  });

  it("notes rows of IP whose protocol it cannot find, and not those of another protocol", () => {
    const header = "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n";
    const row = (words: string): string =>
      `node 4 root 19u IPv4 1 ${words} 127.0.0.1:43925 (LISTEN)\n`;
    expect(parseLsof(header + row("a b c d e f TCP")).notes).toEqual([
      "rows of IPv4 or IPv6 without a known protocol: 1, not counted",
    ]);
    expect(parseLsof(`${header}ping 4 root 3u IPv4 1 0t0 ICMP *:*\n`).notes).toEqual([]);
  });

  it("takes the state from the brackets, for +E puts the other end before them", () => {
    const { records } = parseLsof(
      `node 14064 root 20u IPv4 1 0t0 TCP 127.0.0.1:35496->127.0.0.1:43925 14064,node,21u (ESTABLISHED)
node 14064 root 21u IPv4 2 0t0 TCP 127.0.0.1:43925->127.0.0.1:35496 14064,(sd pam),20u (CLOSE_WAIT QR=0 QS=0)
`,
    );
    expect(records.map(({ state }) => state)).toEqual(["ESTABLISHED", "CLOSE_WAIT"]);
  });

  it("skips a socket that has no addresses any more", () => {
    const { records, skipped } = parseLsof(
      "Slack 501 me 23u IPv4 0x9ae0a7f8 0t0 TCP no PCB, CANTSENDMORE, CANTRCVMORE\n" +
        "Slack 501 me 24u IPv4 0x9ae0a7f9 0t0 TCP *:80 (LISTEN)\n",
    );
    expect(records).toHaveLength(1);
    expect(skipped).toMatchObject([{ line: 1, reason: "no PCB: only its descriptor is left" }]);
  });

  it("refuses an unknown state, quoting the row", () => {
    expect(() => parseLsof("node 4 1000 19u IPv4 1 0t0 TCP 127.0.0.1:35603 (HEARING)\n")).toThrow(
      /unknown state "HEARING" \(line 1\)/,
    );
  });
});

describe("parseLsof, fields", () => {
  it("reads -F: a letter a field, f opens a descriptor", () => {
    const { records } = parseLsof(`p37224
cnode
f24
tIPv4
d109758
PTCP
n10.184.10.188:64647->76.76.21.61:443
TST=ESTABLISHED
TQR=7
TQS=0
f25
tIPv6
PUDP
n*:5353
`);
    expect(records).toEqual([
      {
        protocol: "tcp",
        family: 4,
        local: { address: "10.184.10.188", port: 64647 },
        remote: { address: "76.76.21.61", port: 443 },
        state: "ESTABLISHED",
        recvQ: 7,
        sendQ: 0,
        owners: [{ pid: 37224, name: "node", fd: 24 }],
        line: 3,
        inode: 109758,
      },
      expect.objectContaining({ protocol: "udp", local: { address: "*", port: 5353 } }),
    ]);
  });

  it("reads -F0: the fields of a descriptor end with NUL", () => {
    const { records } = parseLsof(
      "p4\0g0\0cnode\0u1000\0\nf19\0au\0l \0tIPv4\0d111453\0PTCP\0n127.0.0.1:35603\0TST=LISTEN\0TQR=0\0TQS=0\0\n",
    );
    expect(records).toMatchObject([
      { state: "LISTEN", owners: [{ pid: 4, name: "node", fd: 19 }] },
    ]);
  });

  it("counts a descriptor once that -K lists for every thread", () => {
    const file = "f19\ntIPv4\nd111453\nPTCP\nn127.0.0.1:35603\nTST=LISTEN\n";
    const text = `p4\n${file}p4\nK5\n${file}p4\nK6\n${file}p7\n${file}`;
    const { counts, skipped } = parseLsof(text);
    expect(counts.LISTEN).toBe(2);
    expect(skipped.map(({ line }) => line)).toEqual(expect.arrayContaining([9, 17]));
    expect(parseLsof(`p4\n${file}m\np4\n${file}m\n`).counts.LISTEN).toBe(2);
  });

  it("says that it was not asked for the protocol, and skips what has no addresses", () => {
    expect(parseLsof("p4\nf19\nn127.0.0.1:35603\nf20\nn*:80\n").notes).toEqual([
      "2 descriptors without a protocol: lsof -F was not asked for P; not counted",
    ]);
    expect(parseLsof("p4\nf19\ntIPv4\nPTCP\nnno PCB, CANTSENDMORE\n").records).toEqual([]);
  });

  it("splits descriptors at a repeated field where f was not asked for, and leaves the state open without T", () => {
    const { records, unstated } = parseLsof(`p8708
csshd
tIPv4
PTCP
n*:22
tIPv6
PTCP
n*:22
p13451
cssh
tIPv4
PTCP
n192.168.1.66:46951->192.168.1.80:22
`);
    expect(records.map(({ family, owners }) => [family, owners[0]?.pid])).toEqual([
      [4, 8708],
      [6, 8708],
      [4, 13451],
    ]);
    expect(unstated).toBe(3);
  });
});
