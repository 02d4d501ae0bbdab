import { describe, expect, it } from "vitest";
import { latencies } from "./latency.ts";

const SECOND = 1_795_283_395;
/** Nanoseconds of this many microseconds after the first SYN. */
const at = (us: number): string => `${BigInt(SECOND) * 1_000_000_000n + BigInt(us) * 1_000n}`;
const packet = (us: number, ends: string, rest: string): string =>
  `${SECOND}.${`${us}`.padStart(6, "0")}000 IP ${ends}: Flags [${rest}`;

/** One connection: what was on the wire, and when either program knew. */
function recordingOf(packets: readonly string[]): Parameters<typeof latencies>[0] {
  const traced = [
    ["server", { port: "40000", accepted: at(130), read: at(290) }],
    [
      "client",
      { port: "40000", called: at(0), connected: at(110), written: at(180), echoed: at(400) },
    ],
    [
      "client",
      { port: "40001", called: at(0), connected: at(90), written: at(180), echoed: at(400) },
    ],
  ] as const;
  return {
    traced: traced.map(([role, stamps]) => ({
      ...{ role, command: role, strace: "", exitCode: 0 },
      output: JSON.stringify([stamps]),
    })),
    tcpdump: packets.join("\n"),
    ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: [] },
  };
}

const [client, server] = ["127.0.0.1.40000", "127.0.0.1.7"];
const packets = [
  packet(10, `${client} > ${server}`, "S], seq 20, win 65495, length 0"),
  packet(23, `${server} > ${client}`, "S.], seq 39, ack 21, win 65483, length 0"),
  packet(35, `${client} > ${server}`, ".], ack 40, win 64, length 0"),
  packet(200, `${client} > ${server}`, "P.], seq 21:26, ack 40, win 64, length 5"),
  packet(207, `${server} > ${client}`, ".], ack 26, win 64, length 0"),
];

describe("latencies", () => {
  it("are the times between packets, and between packets and what the programs were told", () => {
    const { parts, withoutTcpdump } = latencies(recordingOf(packets));
    expect(parts.map(({ where, name, us }) => [where, name, us.p50])).toEqual([
      ["kernel", "SYN to SYN-ACK", 13],
      ["kernel", "SYN to the last ACK of the handshake", 25],
      ["kernel", "data to its ACK", 7],
      ["program", "connect() called to connected", 110],
      ["program", "SYN to accept() returned", 120],
      ["program", "last ACK to accept() returned (wake-up)", 95],
      ["program", "data arrived to read() returned (wake-up)", 90],
      ["program", "write() called to echo read", 220],
    ]);
    expect(withoutTcpdump).toMatchObject({ count: 1, min: 90, max: 90 });
  });

  it("are none of a connection of which something is missing", () => {
    expect(() => latencies(recordingOf(packets.slice(1)))).toThrow("no connection was seen");
    expect(() => latencies(recordingOf(packets.slice(0, 4)))).toThrow("no connection was seen");
  });
});
