import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { analyse } from "./analysis.ts";

/** A process that waited in accept4() when strace came, and what it called next; the handshake takes from 40,427 to 40,455 us. */
function recordingOf(tookSeconds: string, nextAt: string): Parameters<typeof analyse>[0] {
  const ends = "127.0.0.1:7501->127.0.0.1:42576";
  return {
    traced: [
      {
        ...{ role: "process", command: "pid 4711", output: "", exitCode: 0 },
        strace: [
          `4711 1795283392.476960130 accept4(3<TCP:[127.0.0.1:7501]>, NULL, NULL, SOCK_CLOEXEC) = 4<TCP:[${ends}]> <${tookSeconds}>`,
          `4711 ${nextAt} recvfrom(4<TCP:[${ends}]>, "hi", 10, 0, NULL, NULL) = 2 <0.000046268>`,
          "",
        ].join("\n"),
      },
    ],
    tcpdump: [
      "1795283395.040426912 IP 127.0.0.1.42576 > 127.0.0.1.7501: Flags [S], seq 20, win 65495, length 0",
      "1795283395.040441083 IP 127.0.0.1.7501 > 127.0.0.1.42576: Flags [S.], seq 39, ack 21, win 65483, length 0",
      "1795283395.040454984 IP 127.0.0.1.42576 > 127.0.0.1.7501: Flags [.], ack 40, win 64, length 0",
      "",
    ].join("\n"),
    ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: [] },
  };
}

describe("the end of the handshake, and accept()", () => {
  it.each([
    // strace was 1 ms late with the name of the listener, so that the duration is short by as much.
    ["2.562457044", "1795283395.052430284", true, "at most 11.975 ms before"],
    ["2.564457044", "1795283395.052430284", true, "0.962 ms before"],
    ["2.562457044", "1795283395.040000000", false, "-1.038 ms before"],
  ])("took %s s, with the next call at %s: held %s, %s", (tookSeconds, nextAt, held, found) => {
    const { checks } = analyse(recordingOf(tookSeconds, nextAt));
    expect(checks.find(({ text }) => text.includes("ended the handshake"))).toMatchObject({
      held,
      found,
    });
  });
});

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, "fixtures", name), "utf8");

describe("what a scenario has to show", () => {
  const ordinary: Parameters<typeof analyse>[0] = {
    traced: (["server", "client"] as const).map((role) => ({
      ...{ role, command: role, output: "", exitCode: 0 },
      strace: fixture(`strace-${role}.txt`),
    })),
    tcpdump: fixture("tcpdump-4.99-verbose.txt"),
    ...{ pcap: undefined, bareFromNs: undefined, samples: [], notes: [] },
  };

  it.each([
    ["close", []],
    [
      "half-close",
      ["the server sends data after the client's FIN", "client FIN_WAIT2, server CLOSE_WAIT"],
    ],
    ["reset", ["nobody sends FIN", "fails with ECONNRESET", "no TIME_WAIT on either side"]],
    ["refused", ["the SYN is answered with a RST", "the program is told ECONNREFUSED"]],
    ["queue-full", ["the accept queue was full", "sent again after a second"]],
    ["nagle", ["the second half left only when the first was acknowledged"]],
    ["keep-alive", ["a probe was sent"]],
    ["partial", ["a write() took less than it was given", "when there was room again"]],
    ["udp", ["two datagrams, and no other packet", "no connect(), no accept()"]],
  ] as const)("%s: an ordinary connection does not show it: %j", (name, texts) => {
    const failed = analyse(ordinary, name).checks.filter(({ held }) => !held);
    expect(failed).toHaveLength(texts.length);
    texts.forEach((text, index) => expect(failed[index]?.text).toContain(text));
  });

  it("names the calls that should not have been made", () => {
    const { checks } = analyse(ordinary, "udp");
    expect(checks.find(({ text }) => text.startsWith("no connect()"))?.found).toBe(
      "connect, accept4",
    );
  });
});
