import { describe, expect, it } from "vitest";
import { addressOf, parseProcNet } from "./proc-net.ts";

const HEADER =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

describe("parseProcNet", () => {
  it("reads addresses, queues, timer and inode of a row", () => {
    const { records } = parseProcNet(
      `${HEADER}   3: 802AA8C0:D450 2104C798:01BB 08 00000001:00000052 02:00000A6F 00000003  1000        0 149098 2 0000000000000000 20 4 0 10 -1\n`,
    );
    expect(records).toEqual([
      {
        protocol: "tcp",
        family: 4,
        local: { address: "192.168.42.128", port: 54352 },
        remote: { address: "152.199.4.33", port: 443 },
        state: "CLOSE_WAIT",
        recvQ: 0x52,
        sendQ: 1,
        owners: [],
        line: 2,
        timer: { name: "keepalive", remainingMs: 26_710, retransmits: 3 },
        uid: 1000,
        inode: 149098,
      },
    ]);
  });

  it("reads the short row of TIME_WAIT, and takes port 0 for any", () => {
    const { records, counts } = parseProcNet(
      `${HEADER}  31: F302A8C0:A296 CED43AD8:01BB 06 00000000:00000000 03:0000085B 00000000     0        0 0 3 ffff8802c3d61ef0
   1: 0100007F:8B13 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111453 1 00000000b60c6a84 100 0 0 10 0
`,
    );
    expect(records[0]).toMatchObject({
      inode: 0,
      timer: { name: "timewait", remainingMs: 21_390 },
    });
    expect(records[1]).toMatchObject({ remote: { address: "0.0.0.0", port: null } });
    expect(records[1]).not.toHaveProperty("timer");
    expect(counts).toMatchObject({ TIME_WAIT: 1, LISTEN: 1 });
  });

  it.each([
    ["0100007F", "127.0.0.1"],
    ["00000000000000000000000001000000", "::1"],
    ["00000000000000000000000000000000", "::"],
    ["0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"],
    ["B80D0120000000000000000001000000", "2001:db8::1"],
    ["85240020120100135730A0FE013F0254".slice(0, 32), "2000:2485:1300:112:fea0:3057:5402:3f01"],
  ])("decodes the little-endian address %s", (hex, text) => {
    expect(addressOf(hex, true)).toBe(text);
  });

  it("swaps nothing when told that a big-endian machine wrote it", () => {
    const row =
      "   0: 7F000001:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
    expect(parseProcNet(row, { endian: "big" }).records[0]?.local.address).toBe("127.0.0.1");
    expect(parseProcNet(row).records[0]?.local.address).toBe("1.0.0.127");
  });

  it("counts a last row that was cut behind its state", () => {
    const { records } = parseProcNet(
      `${HEADER}   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1
   1: 0100007F:0017 0100007F:0018 01 000000`,
    );
    expect(records[1]).toMatchObject({ state: "ESTABLISHED", recvQ: undefined });
  });

  it("skips a last row that was cut before its state, and says so", () => {
    const { records, skipped } = parseProcNet(
      `${HEADER}   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1
   1: 0100007F:0017 0100`,
    );
    expect(records).toHaveLength(1);
    expect(skipped[1]).toMatchObject({ line: 3, reason: "cut off before its state, at the end" });
  });

  it("refuses a cut row in the middle", () => {
    const cut = "   1: 0100007F:0017 0100\n";
    const row =
      "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
    expect(() => parseProcNet(HEADER + cut + row)).toThrow(/line 2/);
  });

  it("reads tcp and tcp6 behind each other, as cat prints them", () => {
    const six =
      "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
      "   0: 00000000000000000000000000000000:997F 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111454 1 0000000039ac2c70 100 0 0 10 0\n";
    const four = `${HEADER}   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n`;
    expect(parseProcNet(four + six).records.map(({ family }) => family)).toEqual([4, 6]);
  });

  it("takes the rows of /proc/net/udp for UDP, unless told better", () => {
    const udp = `${HEADER.trimEnd()} ref pointer drops\n 1315: 00000000:14EB 00000000:0000 07 00000000:00000000 00:00000000 00000000   981        0 21040 2 0000000013726323 0\n`;
    expect(parseProcNet(udp)).toMatchObject({ udp: 1, counts: { CLOSE: 0 } });
    expect(parseProcNet(udp, { protocol: "tcp" })).toMatchObject({ udp: 0, counts: { CLOSE: 1 } });
  });

  it("refuses a state that the kernel does not have", () => {
    const row =
      "   0: 0100007F:0016 00000000:0000 0E 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
    expect(() => parseProcNet(row)).toThrow(/unknown state 0E \(line 1\)/);
  });
});
