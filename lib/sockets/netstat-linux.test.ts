import { describe, expect, it } from "vitest";
import { parseNetstat } from "./parse.ts";

const HEADER =
  "Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name\n";

describe("parseNetstat on Linux", () => {
  it("reads user, inode, program and timer, each in its column", () => {
    const { records } = parseNetstat(
      `Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name     Timer
tcp        0      0 192.168.0.1:53          192.168.0.53:53         ESTABLISHED 0          1817       12/dnsd              keepalive (7186.32/0/0)
tcp        0      0 127.0.0.1:53644         0.0.0.0:*               LISTEN      995        1154674    12387/Passenger Rac  off (0.00/0/0)
tcp        0      0 10.24.1.245:80          10.24.36.145:32790      SYN_RECV    0          0          -                    on (0.79/2/0)
`,
    );
    expect(records).toEqual([
      {
        protocol: "tcp",
        family: 4,
        local: { address: "192.168.0.1", port: 53 },
        remote: { address: "192.168.0.53", port: 53 },
        state: "ESTABLISHED",
        recvQ: 0,
        sendQ: 0,
        line: 3,
        owners: [{ pid: 12, name: "dnsd" }],
        uid: 0,
        inode: 1817,
        timer: { name: "keepalive", remainingMs: 7_186_320, retransmits: 0 },
      },
      expect.objectContaining({ owners: [{ pid: 12387, name: "Passenger Rac" }], uid: 995 }),
      expect.objectContaining({
        state: "SYN_RECV",
        owners: [],
        inode: 0,
        timer: { name: "on", remainingMs: 790, retransmits: 2 },
      }),
    ]);
  });

  it.each([
    ["600/sshd: /usr/sbin", [{ pid: 600, name: "sshd: /usr/sbin" }]],
    ["579/nginx: worker p", [{ pid: 579, name: "nginx: worker p" }]],
    ["-                  ", []],
    ["", []],
  ])("reads the program cell %j", (cell, owners) => {
    const { records } = parseNetstat(
      `${HEADER}tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      ${cell}\n`,
    );
    expect(records[0]?.owners).toEqual(owners);
  });

  it("skips the unix section, whose LISTENING is no TCP state", () => {
    const { counts, skipped } = parseNetstat(
      `Active UNIX domain sockets (servers and established)
Proto RefCnt Flags       Type       State         I-Node   PID/Program name     Path
unix  2      [ ACC ]     STREAM     LISTENING     535      1/systemd            /run/lvm/lvmetad.socket
`,
    );
    expect(counts.LISTEN).toBe(0);
    expect(skipped[2]).toMatchObject({ line: 3, reason: "unix: not TCP or UDP" });
  });

  it("takes the port behind the last colon, and says that the address was cut", () => {
    const { records } = parseNetstat(
      `${HEADER}tcp6       0     48 2601:1:ad80:1445::54776 2620:0:861:52:208::6667 LISTEN     2043/pidgin
tcp6       0      0 fe80::b1f3:2c:3c6c::123 :::*                    LISTEN
tcp        0      0 localhost.localdo:35450 lb-192-30-255-112:https ESTABLISHED
tcp6       0      0 :::22                   [::]:*                  LISTEN
`,
    );
    expect(records.map(({ local }) => local)).toEqual([
      { address: "2601:1:ad80:1445:", port: 54776, truncated: true },
      { address: "fe80::b1f3:2c:3c6c:", port: 123, truncated: true },
      { address: "localhost.localdo", port: 35450, truncated: true },
      { address: "::", port: 22 },
    ]);
    expect(records[2]?.remote).toEqual({
      address: "lb-192-30-255-112",
      port: "https",
      truncated: true,
    });
  });

  it("takes rows of RHEL 6 and busybox that say tcp for IPv6 by their address", () => {
    const { records } = parseNetstat(`${HEADER}tcp 0 0 :::5227 :::* LISTEN -\n`);
    expect(records[0]?.family).toBe(6);
  });

  it("reads German words around the table and in it", () => {
    const { counts, skipped } = parseNetstat(
      `(Es konnten nicht alle Prozesse identifiziert werden; Informationen über
nicht-eigene Prozesse werden nicht angezeigt; Root kann sie anzeigen.)
Aktive Internetverbindungen (Server und stehende Verbindungen)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        0      0 192.168.2.110:39500     8.8.8.8:5222            VERBUNDEN   6588/pidgin
Aktive Sockets in der UNIX-Domäne (Server und stehende Verbindungen)
`,
    );
    expect(counts.ESTABLISHED).toBe(1);
    expect(skipped).toHaveLength(5);
  });

  it("reads states and timers in Czech, where one state has two words, and headers in Japanese", () => {
    const { records } = parseNetstat(
      `Proto Přích-F Odch-F Lokální Adresa          Vzdálená Adresa         Stav        PID/Program name
tcp        0      0 127.0.0.1:80            127.0.0.1:5000          SPOJENO     12/nginx   zapnut (0.21/1/0)
tcp        0      0 127.0.0.1:80            127.0.0.1:5001          POSLEDNÍ ACK 12/nginx  vyp (0.00/0/0)
Proto 受信-Q 送信-Q 内部アドレス            外部アドレス            状態
tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      オフ (0.00/0/0)
`,
    );
    expect(records).toMatchObject([
      { state: "ESTABLISHED", timer: { name: "on", remainingMs: 210, retransmits: 1 } },
      { state: "LAST_ACK", owners: [{ pid: 12, name: "nginx" }] },
      { state: "LISTEN", owners: [] },
    ]);
    expect(records[2]).not.toHaveProperty("timer");
  });

  it("reads past the warnings that busybox prints into the stream", () => {
    const { counts } = parseNetstat(
      `netstat: showing only processes with your user ID
Active Internet connections (only servers)
${HEADER}tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      1/sshd
netstat: /proc/net/tcp6: No such file or directory
`,
    );
    expect(counts.LISTEN).toBe(1);
  });

  it("reads rows without a header, as grep leaves them", () => {
    const { records, format } = parseNetstat(
      "tcp        0      0 0.0.0.0:22   0.0.0.0:*   LISTEN   0   22606   579/nginx: worker p\n",
    );
    expect(format).toBe("netstat-linux");
    expect(records[0]).toMatchObject({ uid: 0, inode: 22606, owners: [{ pid: 579 }] });
  });

  it("refuses a TCP row with an unknown state, quoting it", () => {
    expect(() => parseNetstat(`${HEADER}tcp 0 0 1.2.3.4:80 5.6.7.8:90 FIN_WAIT_9\n`)).toThrow(
      'netstat-linux: unknown state "FIN_WAIT_9" (line 2): "tcp 0 0 1.2.3.4:80 5.6.7.8:90 FIN_WAIT_9"',
    );
  });

  it("refuses a row of a protocol that does not exist", () => {
    expect(() => parseNetstat(`${HEADER}tpc 0 0 1.2.3.4:80 5.6.7.8:90 ESTABLISHED\n`)).toThrow(
      /unknown protocol "tpc" \(line 2\)/,
    );
  });
});
