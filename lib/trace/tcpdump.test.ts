import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ParseError } from "../sockets/parse-error.ts";
import { parseTcpdump, TCP_FLAGS } from "./tcpdump.ts";

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, "fixtures", name), "utf8");

describe("parseTcpdump", () => {
  const verbose = parseTcpdump(fixture("tcpdump-4.99-verbose.txt")).packets;

  it("reads a segment with flags, numbers, window, options and time to the nanosecond", () => {
    expect(verbose).toHaveLength(20);
    expect(verbose[1]).toEqual({
      protocol: "tcp",
      atNs: 1795245899_317600473n,
      from: { address: "127.0.0.1", port: 4000 },
      to: { address: "127.0.0.1", port: 57878 },
      flags: ["SYN", "ACK"],
      seq: 2004041125,
      ack: 1966838629,
      length: 0,
      window: 65483,
      options: "mss 65495,sackOK,TS val 1558969949 ecr 1035297301,nop,wscale 10",
    });
  });

  it("reads the same without -vv, but for numbers that are not printed then", () => {
    const terse = parseTcpdump(fixture("tcpdump-4.99.txt")).packets;
    const printed = verbose.map((packet) => {
      const isBare = packet.flags.length === 1 && packet.flags[0] === "ACK" && packet.length === 0;
      return isBare ? { ...packet, seq: undefined } : packet;
    });
    expect(terse).toEqual(printed);
  });

  it("reads datagrams, which have neither flags nor numbers", () => {
    expect(verbose.at(-1)).toMatchObject({ protocol: "udp", flags: [], seq: undefined, length: 5 });
  });

  it("reads IPv6, and captures from every interface at once", () => {
    const lines = [
      "1.000000001 lo    In  IP6 ::1.40000 > ::1.4000: Flags [R.], seq 0, ack 5, win 0, length 0",
      "2.0 IP6 (flowlabel 0x3d6f9, hlim 64, next-header TCP (6) payload length: 40) ::1.40000 > ::1.4000: Flags [FP.], cksum 0x30 (correct), seq 1:4, ack 5, win 64, length 3",
    ];
    expect(parseTcpdump(lines.join("\n")).packets).toMatchObject([
      { from: { address: "::1", port: 40000 }, flags: ["RST", "ACK"], seq: 0, ack: 5, window: 0 },
      { flags: ["FIN", "PSH", "ACK"], seq: 1, length: 3 },
    ]);
  });

  it("sets other protocols aside, and skips what tcpdump says of itself", () => {
    const text = [
      "reading from file -, link-type EN10MB (Ethernet), snapshot length 262144",
      "1.0 ARP, Request who-has 10.0.0.1 tell 10.0.0.2, length 28",
      "1.1 IP 127.0.0.1 > 127.0.0.1: ICMP 127.0.0.1 udp port 9 unreachable, length 37",
    ].join("\n");
    const { packets, others } = parseTcpdump(text);
    expect(packets).toEqual([]);
    expect(others).toHaveLength(2);
  });

  it("refuses what is no packet, and quotes the line", () => {
    expect(() => parseTcpdump("1.0 ARP\nhello\n")).toThrow(
      expect.objectContaining({ code: "TFL_PARSE", line: 2, text: "hello" }),
    );
  });

  it("never throws anything but a ParseError", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom("1.0 IP ", "(tos 0x0) ", "a.1 > b.2: ", "Flags [S], ", "seq 1", "\n", "    "),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          parseTcpdump(pieces.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(ParseError);
        }
      }),
    );
  });

  it("reads back whatever segments are printed as tcpdump does", () => {
    const segment = fc.record({
      port: fc.integer({ min: 1, max: 65_535 }),
      flags: fc.subarray([...TCP_FLAGS]),
      seq: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      ack: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      length: fc.integer({ min: 0, max: 65_495 }),
      window: fc.integer({ min: 0, max: 65_535 }),
    });
    const letters = {
      FIN: "F",
      SYN: "S",
      RST: "R",
      PSH: "P",
      ACK: ".",
      URG: "U",
      ECE: "E",
      CWR: "W",
    };
    fc.assert(
      fc.property(fc.array(segment), (segments) => {
        const text = segments.map(({ port, flags, seq, ack, length, window }) => {
          const shown = flags.map((flag) => letters[flag]).join("") || "none";
          const range = length > 0 ? `${seq}:${(seq + length) % 2 ** 32}` : `${seq}`;
          const header = `1.000000007 IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length ${length + 52})`;
          return `${header}\n    127.0.0.1.${port} > 10.0.0.1.4000: Flags [${shown}], cksum 0x1 (correct), seq ${range}, ack ${ack}, win ${window}, options [nop,nop,TS val 1 ecr 2], length ${length}`;
        });
        const read = parseTcpdump(text.join("\n")).packets;
        expect(read).toMatchObject(
          segments.map(({ port, ...rest }) => ({ ...rest, from: { address: "127.0.0.1", port } })),
        );
      }),
    );
  });
});
