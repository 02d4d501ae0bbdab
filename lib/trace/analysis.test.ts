import { describe, expect, it } from "vitest";
import { analyse } from "./analysis.ts";

const handshake = (second: number, client: string, server: string): string =>
  [
    `${second}.000001000 IP ${client} > ${server}: Flags [S], seq 20, win 65495, length 0`,
    `${second}.000002000 IP ${server} > ${client}: Flags [S.], seq 39, ack 21, win 65483, length 0`,
    `${second}.000003000 IP ${client} > ${server}: Flags [.], ack 40, win 64, length 0`,
    "",
  ].join("\n");

describe("analyse", () => {
  it("says so when nothing of a connection is the traced process's: it may be a stranger's", () => {
    const idle = { command: "pid 4711", output: "", exitCode: 0, strace: "" };
    const { timeline, recording } = analyse({
      traced: [{ ...idle, role: "process" }],
      tcpdump: handshake(1_795_283_395, "10.0.0.9.50000", "10.0.0.1.22"),
      ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: [] },
    });
    expect(timeline?.conversation.server.port).toBe(22);
    expect(recording.notes).toEqual([expect.stringContaining("may be somebody else's")]);
  });

  it("shows what the traced process did, and strangers' connections of the same network behind it", () => {
    const ends = "127.0.0.1:7501->127.0.0.1:42576";
    const { timeline, conversations, recording } = analyse({
      traced: [
        {
          ...{ role: "process", command: "pid 4711", output: "", exitCode: 0 },
          strace: `4711 1795283396.1 accept4(3<TCP:[127.0.0.1:7501]>, NULL, NULL, 0) = 4<TCP:[${ends}]> <0.001>\n`,
        },
      ],
      tcpdump:
        handshake(1_795_283_395, "10.0.0.9.50000", "10.0.0.1.22") +
        handshake(1_795_283_396, "127.0.0.1.42576", "127.0.0.1.7501"),
      ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: [] },
    });
    expect(timeline?.conversation.server).toEqual({ address: "127.0.0.1", port: 7501 });
    expect(conversations.map(({ server }) => server.port)).toEqual([7501, 22]);
    expect(recording.notes).toEqual([]);
  });
});
