import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TcpState } from "../sockets/record.ts";
import { clockBounds } from "./clock.ts";
import { gather } from "./conversations.ts";
import { socketCalls } from "./descriptors.ts";
import { compare, type Sample } from "./samples.ts";
import { followStates, type Side, type SidedPacket } from "./states.ts";
import { parseStrace, type Syscall } from "./strace.ts";
import { parseTcpdump, type Packet, type TcpFlag } from "./tcpdump.ts";
import { timelineOf, type Row } from "./timeline.ts";

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, "fixtures", name), "utf8");
const calls = ["server", "client", "reset-client", "udp"].flatMap((name) =>
  socketCalls(parseStrace(fixture(`strace-${name}.txt`)).calls),
);
const { packets } = parseTcpdump(fixture("tcpdump-4.99-verbose.txt"));
const conversations = gather(packets, calls);

/** Where a server's epoll_wait() stands that began at 0, with one packet from its client. */
function wakeUpAt(end: Pick<Syscall, "endNs" | "doneByNs">, packetNs: bigint): bigint | undefined {
  const one = conversations[0]!;
  const wait = one.calls.find(
    ({ call, side }) => call.name === "epoll_pwait" && side === "server",
  )!;
  const sent = one.packets.find(({ from }) => from === "client")!;
  const { rows } = timelineOf({
    ...one,
    calls: [{ ...wait, call: { ...wait.call, beginNs: 0n, ...end } }],
    packets: [{ from: "client", packet: { ...sent.packet, atNs: packetNs } }],
  });
  return rows.find(({ kind }) => kind === "call")?.atNs;
}

const textOf = (row: Row): string => (row.kind === "call" ? row.facts.text : row.kind);

describe("a timeline", () => {
  it("finds the conversations, and who began each", () => {
    expect(conversations.map(({ protocol, client }) => [protocol, client.port])).toEqual([
      ["tcp", 57878],
      ["tcp", 57890],
      ["udp", 48002],
    ]);
  });

  it("finds who began one whose beginning was not captured: by the SYN-ACK, else by accept()", () => {
    const fromServer = packets.filter(({ from }) => from.port === 4000);
    const [synAck, last] = [fromServer[0]!, conversations[0]!.packets.at(-2)!.packet];
    const beginner = (packet: Packet, some: typeof calls): number | undefined =>
      gather([packet], some).find(({ packets }) => packets.length > 0)?.client.port;
    expect(beginner(synAck, [])).toBe(57878);
    expect(beginner(last, [])).toBe(4000);
    expect(beginner(last, calls)).toBe(57878);
  });

  it("puts calls of both sides and packets in the order in which they happened", () => {
    const { rows, zeroNs } = timelineOf(conversations[0]!);
    expect(zeroNs).toBe(packets[0]!.atNs);
    const story = rows
      .filter(({ atNs }) => atNs >= zeroNs - 1_000_000n)
      .map((row) => {
        if (row.kind !== "packet") return `${row.side}: ${textOf(row)}`;
        const { flags, seq, ack } = row.packet;
        return `${row.side} ${flags.join(",")} ${seq} ${ack ?? ""}`.trim();
      })
      .filter((line) => !/epoll_ctl|sockopt/.test(line));
    expect(story).toEqual([
      "client: socket() = 20",
      "client: connect(20, 127.0.0.1:4000) = EINPROGRESS",
      "client SYN 0",
      "server SYN,ACK 0 1",
      "client ACK 1 1",
      "server: epoll_pwait = 24 EPOLLIN",
      "server: accept4(24) = 25",
      "client: epoll_pwait = 20 EPOLLOUT",
      "client: write(20, 10) = 10",
      "client PSH,ACK 1 1",
      "server ACK 1 11",
      "server: epoll_pwait = 25 EPOLLIN",
      "server: read(25, 65536) = 10",
      "server: write(25, 10) = 10",
      "server PSH,ACK 1 11",
      "client ACK 11 11",
      "client: epoll_pwait = 20 EPOLLIN",
      "client: read(20, 65536) = 10",
      "client: close(20)",
      "client FIN,ACK 11 11",
      "server: epoll_pwait = 25 EPOLLIN",
      "server: read(25, 65536) = 0",
      "server: shutdown(25, SHUT_WR)",
      "server FIN,ACK 11 12",
      "client ACK 12 12",
      "server: close(25)",
    ]);
  });

  it("has socket(), bind() and listen() of the listener, and no other connection's calls", () => {
    const { rows } = timelineOf(conversations[1]!);
    const server = rows.flatMap((row) =>
      row.kind === "call" && row.side === "server" ? [row.facts.text] : [],
    );
    expect(server.slice(0, 4)).toEqual([
      "socket() = 24",
      "setsockopt(24, SO_REUSEADDR, 1)",
      "bind(24, 127.0.0.1:4000)",
      "listen(24, 511)",
    ]);
    expect(server.filter((text) => text.startsWith("accept4"))).toHaveLength(1);
    expect(server).toContain("read(25, 65536) = ECONNRESET");
  });

  it("knows both sides of an exchange of datagrams, with one process behind both", () => {
    const { rows } = timelineOf(conversations[2]!);
    const story = rows.map((row) =>
      row.kind === "packet" ? `${row.side} sends` : `${row.side}: ${textOf(row)}`,
    );
    expect(story).toContain("client: sendmsg(19, 5) = 5");
    expect(story).toContain("server: recvmsg(18, 65536) = 5");
  });

  it.each([
    ["at the packet that woke it, when that came between both bounds", 1_100_000n, 1_100_000n],
    ["at the earlier bound, when the packet had come before", 900_000n, 1_000_000n],
    ["at the earlier bound, when no packet came by the later", 1_300_000n, 1_000_000n],
  ])("puts the return of a call that waited %s", (_, packetNs, atNs) => {
    expect(wakeUpAt({ endNs: 1_000_000n, doneByNs: 1_200_000n }, packetNs)).toBe(atNs);
  });

  it("puts the return of a call that did not wait where it ended, whatever came behind it", () => {
    expect(wakeUpAt({ endNs: 20_000n, doneByNs: 1_200_000n }, 1_100_000n)).toBe(20_000n);
  });

  it("bounds the difference of both clocks by causality, and 0 lies between", () => {
    const bounds = clockBounds(timelineOf(conversations[0]!))!;
    // The narrowest of all pairs, to both sides.
    expect(bounds).toEqual({ lowUs: -322.678, highUs: 51.136, pairs: 5 });
  });

  it("finds a clock that is wrong", () => {
    const late = packets.map((packet) => ({ ...packet, atNs: packet.atNs + 10_000_000n }));
    const bounds = clockBounds(timelineOf(gather(late, calls)[0]!))!;
    expect(bounds.lowUs).toBeGreaterThan(0);
  });
});

/** A segment from one side: flags, and where they matter numbers. */
const segment = (from: Side, flags: string, seq = 0, ack = 0): SidedPacket => {
  const packet: Packet = {
    protocol: "tcp",
    atNs: 0n,
    from: { address: "", port: 0 },
    to: { address: "", port: 0 },
    flags: flags.split(" ") as TcpFlag[],
    ...{ seq, ack, length: 0, window: 64, options: "" },
  };
  return { from, packet };
};
const handshake = [
  segment("client", "SYN"),
  segment("server", "SYN ACK"),
  segment("client", "ACK"),
];
const lastStates = (packets: readonly SidedPacket[], isListening?: boolean): string => {
  const { client, server } = followStates(packets, isListening).at(-1)!.states;
  return `${client} ${server}`;
};

describe("states, derived from packets (RFC 9293, figure 5)", () => {
  it.each([
    ["a SYN alone: the listener may have dropped it", handshake.slice(0, 1), "SYN_SENT LISTEN"],
    ["SYN-ACK", handshake.slice(0, 2), "ESTABLISHED SYN_RECV"],
    ["the handshake", handshake, "ESTABLISHED ESTABLISHED"],
    ["a FIN", [...handshake, segment("client", "FIN ACK", 5)], "FIN_WAIT1 CLOSE_WAIT"],
    [
      "a FIN that is acknowledged",
      [...handshake, segment("client", "FIN ACK", 5), segment("server", "ACK", 0, 6)],
      "FIN_WAIT2 CLOSE_WAIT",
    ],
    [
      "an ACK of what came before the FIN",
      [...handshake, segment("client", "FIN ACK", 5), segment("server", "ACK", 0, 5)],
      "FIN_WAIT1 CLOSE_WAIT",
    ],
    [
      "a FIN that does not acknowledge ours",
      [...handshake, segment("client", "FIN ACK", 5, 9), segment("server", "FIN ACK", 9, 5)],
      "CLOSING CLOSING",
    ],
    [
      "a FIN that also acknowledges ours",
      [...handshake, segment("client", "FIN ACK", 5), segment("server", "FIN ACK", 9, 6)],
      "TIME_WAIT LAST_ACK",
    ],
    [
      "the last ACK",
      [
        ...handshake,
        segment("client", "FIN ACK", 5),
        segment("server", "FIN ACK", 9, 6),
        segment("client", "ACK", 6, 10),
      ],
      "TIME_WAIT CLOSE",
    ],
    ["a RST", [...handshake, segment("server", "RST ACK")], "CLOSE CLOSE"],
    [
      "a RST after a SYN that was not answered",
      [...handshake.slice(0, 1), segment("client", "RST")],
      "CLOSE LISTEN",
    ],
    ["nothing of the beginning", [segment("server", "PSH ACK")], "ESTABLISHED ESTABLISHED"],
  ])("%s", (_, packets, states) => expect(lastStates(packets)).toBe(states));

  it("both close at once: either side goes through CLOSING and keeps a TIME_WAIT", () => {
    const packets = [
      ...handshake,
      segment("client", "FIN ACK", 5, 9),
      segment("server", "FIN ACK", 9, 5),
      segment("client", "ACK", 6, 10),
      segment("server", "ACK", 10, 6),
    ];
    const seen = followStates(packets).map(({ states }) => `${states.client} ${states.server}`);
    expect(seen.slice(3)).toEqual([
      "FIN_WAIT1 ESTABLISHED",
      "CLOSING CLOSING",
      "CLOSING TIME_WAIT",
      "TIME_WAIT TIME_WAIT",
    ]);
  });

  it("a FIN that also acknowledges ours leads through FIN_WAIT2, one that comes later does not", () => {
    const [fin, ack] = [segment("client", "FIN ACK", 5), segment("server", "ACK", 0, 6)];
    const theirs = segment("server", "FIN ACK", 9, 6);
    const between = (packets: readonly SidedPacket[]): unknown =>
      followStates([...handshake, ...packets]).map(({ between }) => between);
    const nothing = handshake.map(() => undefined);
    expect(between([fin, theirs])).toEqual([...nothing, undefined, { client: "FIN_WAIT2" }]);
    expect(between([fin, ack, theirs])).toEqual([...nothing, undefined, undefined, undefined]);
  });

  it("a FIN that is sent again before anything acknowledged it had not arrived", () => {
    const fin = segment("server", "FIN ACK", 9, 6);
    const packets = [
      ...handshake,
      segment("client", "FIN ACK", 5, 9),
      segment("server", "ACK", 9, 6),
      ...[fin, fin, segment("client", "ACK", 6, 10)],
    ];
    const client = followStates(packets).map(({ states }) => states.client);
    expect(client.slice(3)).toEqual([
      "FIN_WAIT1",
      "FIN_WAIT2",
      "FIN_WAIT2",
      "TIME_WAIT",
      "TIME_WAIT",
    ]);
  });

  it.each([
    ["right behind the other side's FIN ends TIME_WAIT (RFC 1337)", 10, "CLOSE"],
    ["anywhere else does not", 9, "TIME_WAIT"],
  ])("a RST %s", (_, seq, client) => {
    const packets = [
      ...handshake,
      segment("client", "FIN ACK", 5),
      segment("server", "FIN ACK", 9, 6),
      segment("client", "ACK", 6, 10),
      segment("server", "RST", seq),
    ];
    expect(lastStates(packets)).toBe(`${client} CLOSE`);
  });

  it("nobody listens: the RST leaves nothing on either side", () => {
    const packets = [segment("client", "SYN"), segment("server", "RST ACK")];
    expect(lastStates(packets, false)).toBe("CLOSE CLOSE");
  });
});

describe("segments in a timeline", () => {
  const factsOf = (segments: readonly SidedPacket[]) =>
    timelineOf({ ...conversations[0]!, calls: [], packets: segments }).rows.flatMap((row) =>
      row.kind === "packet" ? [row.packet] : [],
    );
  const longer = ({ from, packet }: SidedPacket, more: Partial<Packet>): SidedPacket => ({
    from,
    packet: { ...packet, ...more },
  });

  it("have a note where they are more than the next one", () => {
    const half = longer(segment("client", "PSH ACK", 1, 1), { length: 5 });
    const noted = factsOf([
      segment("client", "SYN"),
      ...[segment("client", "SYN"), segment("server", "SYN ACK", 0, 1)],
      ...[half, half, longer(half, { seq: 6 }), half],
      segment("client", "ACK", 10, 1),
      segment("client", "ACK", 11, 1),
      longer(segment("server", "ACK", 1, 11), { window: 0 }),
      longer(segment("server", "RST", 0), { window: 0 }),
    ]);
    expect(noted.map(({ flags, note }) => `${flags.join(" ")}: ${note ?? ""}`)).toEqual([
      "SYN: ",
      "SYN: sent again",
      "SYN ACK: ",
      "PSH ACK: ",
      "PSH ACK: sent again",
      "PSH ACK: ",
      "PSH ACK: sent again",
      "ACK: keep-alive probe",
      "ACK: ",
      "ACK: window 0",
      "RST: ",
    ]);
  });

  it("are counted from 1 in either direction where no SYN was captured", () => {
    const [first, second] = [
      segment("client", "PSH ACK", 4711, 815),
      segment("server", "ACK", 820, 4721),
    ];
    expect(factsOf([first, second]).map(({ seq, ack }) => [seq, ack])).toEqual([
      [1, 1],
      [6, 11],
    ]);
  });

  it("come from a server in LISTEN where its program was not traced", () => {
    const [first] = timelineOf({ ...conversations[0]!, calls: [] }).rows;
    expect(first).toMatchObject({ states: { client: "SYN_SENT", server: "LISTEN" } });
  });
});

describe("the socket table against the packets", () => {
  const conversation = conversations[0]!;
  const changes = followStates(conversation.packets);
  const readAt = (atNs: bigint, state: TcpState): Sample => ({
    fromNs: `${atNs}`,
    toNs: `${atNs}`,
    rows: [{ local: "127.0.0.1:57878", remote: "127.0.0.1:4000", state, recvQ: 0 }],
    repeats: 0,
  });
  const end = changes.at(-1)!.atNs;

  it("agrees when a reading shows what the packets lead to", () => {
    const { disagreements, compared, seen } = compare(conversation, changes, [
      { ...readAt(end + 9_000_000n, "TIME_WAIT"), repeats: 22 },
    ]);
    expect(disagreements).toEqual([]);
    expect({ compared, seen }).toEqual({
      compared: 46,
      seen: { client: ["TIME_WAIT"], server: [] },
    });
  });

  it("says which side differs, and how", () => {
    const { disagreements } = compare(conversation, changes, [
      readAt(end + 9_000_000n, "ESTABLISHED"),
    ]);
    expect(disagreements).toMatchObject([
      { side: "client", seen: "ESTABLISHED", derived: ["TIME_WAIT"] },
    ]);
  });

  it("knows FIN_WAIT2 until the last ACK, and not behind it", () => {
    const fin = changes.findLast(({ between }) => between?.client === "FIN_WAIT2")!;
    const seen = [fin.atNs + 1n, end + 9_000_000n].map((atNs) => readAt(atNs, "FIN_WAIT2"));
    expect(compare(conversation, changes, seen).disagreements).toMatchObject([
      { side: "client", atNs: end + 9_000_000n, seen: "FIN_WAIT2", derived: ["TIME_WAIT"] },
    ]);
  });

  const gone = { ...readAt(end + 19_000_000n, "TIME_WAIT"), rows: [] };
  const reset: Packet = {
    ...conversation.packets.findLast(({ from }) => from === "server")!.packet,
    ...{ atNs: end + 11_000_000n, flags: ["RST"], length: 0 },
  };
  const timers = (packets: readonly SidedPacket[]): readonly Row[] =>
    timelineOf({ ...conversation, packets }, [
      readAt(end + 9_000_000n, "TIME_WAIT"),
      gone,
    ]).rows.filter(({ kind }) => kind === "timer");

  it("has a row for the timer that ends TIME_WAIT, and none where a RST has ended it", () => {
    expect(timers(conversation.packets)).toMatchObject([
      { atNs: end + 19_000_000n, states: { client: "CLOSE", server: "CLOSE" } },
    ]);
    const behindFin = { ...reset, seq: reset.seq! + 1 };
    expect(timers([...conversation.packets, { from: "server", packet: behindFin }])).toEqual([]);
  });

  it("expects TIME_WAIT to be over after 60 s", () => {
    const { disagreements } = compare(conversation, changes, [
      { ...readAt(end + 60_500_000_000n, "TIME_WAIT"), rows: [] },
    ]);
    expect(disagreements).toEqual([]);
  });
});
