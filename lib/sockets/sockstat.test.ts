import { describe, expect, it } from "vitest";
import { parseSockets } from "./parse.ts";

describe("sockstat", () => {
  it("names process and descriptor, and has no state without -s", () => {
    const parsed = parseSockets(
      `USER    COMMAND     PID     FD  PROTO  LOCAL ADDRESS    FOREIGN ADDRESS
root    python2.7   1294    41  tcp4   127.0.0.1:61115  127.0.0.1:4506
root    syslogd     800     6   udp4   *:514            *:*
root    devd        600     4   stream /var/run/devd.pipe
?       ?           ?       ?   tcp4   127.0.0.1:61116  127.0.0.1:4506
`,
    );
    expect(parsed).toMatchObject({ format: "sockstat", unstated: 2, udp: 1 });
    expect(parsed.records[0]).toMatchObject({
      family: 4,
      local: { address: "127.0.0.1", port: 61115 },
      owners: [{ pid: 1294, name: "python2.7", fd: 41 }],
      uid: "root",
    });
    expect(parsed.records[2]).toMatchObject({ owners: [] });
  });

  it("takes command and pid apart where their columns ran into each other", () => {
    const { records } = parseSockets(
      `USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS    FOREIGN ADDRESS
salt-master python2.781106 35 tcp4  127.0.0.1:61115  127.0.0.1:4506
`,
    );
    expect(records).toMatchObject([{ owners: [{ pid: 81106, name: "python2.7", fd: 35 }] }]);
  });

  it("is not misled by a user and a program that are called as a protocol is", () => {
    const row = "tcp udp 815 5 tcp4 127.0.0.1:22 *:*\n";
    const header = "USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS\n";
    for (const text of [row, header + row])
      expect(parseSockets(text)).toMatchObject({
        format: "sockstat",
        records: [{ protocol: "tcp", uid: "tcp", owners: [{ pid: 815, name: "udp", fd: 5 }] }],
      });
  });

  it("reads rows without a header, and past what stands between the tables of several jails", () => {
    expect(parseSockets("root sshd 815 5 tcp4 *:22 *:*\n")).toMatchObject({
      format: "sockstat",
      records: [{ owners: [{ pid: 815, name: "sshd", fd: 5 }] }],
    });
    const { rows } = parseSockets(`unbound1:
USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS
unbound  unbound    9639  4  tcp4   10.0.0.10:53          *:*

unbound2:
USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS
unbound  unbound    31590 4  tcp4   10.0.0.20:53          *:*
`);
    expect(rows).toBe(2);
  });

  it("reads the states of -s", () => {
    const { counts } = parseSockets(
      `USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS       STATE
root     sshd       700   4  tcp6   *:22                  *:*                   LISTEN
root     sshd       701   4  tcp4   10.0.0.1:22           10.0.0.2:50000        ESTABLISHED
`,
    );
    expect(counts).toMatchObject({ LISTEN: 1, ESTABLISHED: 1 });
  });

  it("reads the states of -s where -S puts the stack behind them", () => {
    const { counts } = parseSockets(
      `USER  COMMAND  PID  FD PROTO  LOCAL ADDRESS    FOREIGN ADDRESS  CONN STATE   STACK
root  sshd     1294 3  tcp4   *:22             *:*              LISTEN       freebsd
root  sshd     1295 4  tcp4   10.0.0.1:22      10.0.0.9:50001   ESTABLISHED  rack
root  syslogd  800  6  udp4   *:514            *:*
`,
    );
    expect(counts).toMatchObject({ LISTEN: 1, ESTABLISHED: 1 });
  });
});
