import { describe, expect, it } from "vitest";
import { parseNetstat } from "./parse.ts";

const TCP4 = `
TCP: IPv4
   Local Address        Remote Address     Swind  Send-Q  Rwind  Recv-Q    State
-------------------- -------------------- ------- ------ ------- ------ -----------
`;

describe("parseNetstat on Solaris", () => {
  it("reads the TCP sections and skips the others", () => {
    const { records, format, skippedByReason } = parseNetstat(
      `
UDP: IPv4
   Local Address        Remote Address      State
-------------------- -------------------- ----------
      *.111                               Idle
192.168.59.103.68                         Connected
${TCP4}192.168.59.103.22    192.168.59.3.55016    131008     47  128872      0 ESTABLISHED
      *.111                *.*                 0      0  128000      0 LISTEN
      *.*                  *.*                 0      0  128000      0 IDLE

TCP: IPv6
   Local Address                     Remote Address                  Swind  Send-Q  Rwind  Recv-Q   State      If
--------------------------------- --------------------------------- ------- ------ ------- ------ ----------- -----
fe80::1.22                        fe80::2.55020                      131008      0  128872      0 TIME_WAIT   net0
`,
    );
    expect(format).toBe("netstat-solaris");
    expect(records).toMatchObject([
      {
        family: 4,
        local: { address: "192.168.59.103", port: 22 },
        remote: { address: "192.168.59.3", port: 55016 },
        state: "ESTABLISHED",
        sendQ: 47,
        recvQ: 0,
      },
      { state: "LISTEN", local: { address: "*", port: 111 } },
      { state: "CLOSE" },
      { family: 6, state: "TIME_WAIT", local: { address: "fe80::1", port: 22 } },
    ]);
    expect(skippedByReason.get("section: UDP")).toBe(2);
  });

  it("reads user, pid and command of -u", () => {
    const { records } = parseNetstat(
      `TCP: IPv4
   Local Address        Remote Address      User    Pid      Command       Swind  Send-Q  Rwind  Recv-Q    State
-------------------- -------------------- -------- ------ -------------- ------- ------ ------- ------ -----------
      *.22                 *.*            root       1234 sshd -D               0      0  128000      0 LISTEN
`,
    );
    expect(records).toMatchObject([{ uid: "root", owners: [{ pid: 1234, name: "sshd -D" }] }]);
  });

  it("reads rows of -u whose owner is gone, and tables that were pasted with an indent", () => {
    const { records } = parseNetstat(`    TCP: IPv4
       Local Address        Remote Address      User     Pid     Command     Swind  Send-Q  Rwind  Recv-Q    State
    -------------------- -------------------- -------- ------ ------------- ------- ------ ------- ------ -----------
    10.0.0.5.22          10.0.0.9.51000                                      131072      0  256000      0 TIME_WAIT
`);
    expect(records).toMatchObject([{ state: "TIME_WAIT", owners: [] }]);
    expect(records[0]).not.toHaveProperty("uid");
  });

  it("refuses an unknown state, quoting the row", () => {
    expect(() => parseNetstat(`${TCP4}*.22 *.* 0 0 128000 0 HEARING\n`)).toThrow(
      /no known state behind four numbers \(line 5\): "\*\.22 /,
    );
  });
});
