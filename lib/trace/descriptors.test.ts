import { describe, expect, it } from "vitest";
import { gather } from "./conversations.ts";
import { socketCalls, type SocketCall } from "./descriptors.ts";
import { parseStrace } from "./strace.ts";
import { parseTcpdump } from "./tcpdump.ts";

const callsIn = (...lines: readonly string[]): readonly SocketCall[] =>
  socketCalls(parseStrace(lines.join("\n")).calls);

describe("the life of a descriptor", () => {
  it("ends with close(): what has its number then is another socket, or none", () => {
    const calls = callsIn(
      "7 1.000000001 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 20<TCP:[61]> <0.000001>",
      '7 1.000000002 read(20<TCP:[127.0.0.1:40000->127.0.0.1:4000]>, "", 9) = 0 <0.000001>',
      "7 1.000000003 close(20<TCP:[127.0.0.1:40000->127.0.0.1:4000]>) = 0 <0.000001>",
      '7 1.000000004 read(20</etc/hosts>, "127.0.0.1", 9) = 9 <0.000001>',
      "7 1.000000005 close(20</etc/hosts>) = 0 <0.000001>",
      "7 1.000000006 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 20<TCP:[62]> <0.000001>",
      "7 1.000000007 close(20<TCP:[62]>) = 0 <0.000001>",
    );
    const [first, ...rest] = new Set(calls.map(({ life }) => life));
    const namesOf = (life: unknown): readonly string[] =>
      calls.filter((one) => one.life === life).map(({ call }) => call.name);
    expect(namesOf(first)).toEqual(["socket", "read", "close"]);
    expect(rest.map(namesOf)).toEqual([["socket", "close"]]);
  });

  it("goes on after a close() that failed", () => {
    const calls = callsIn(
      "7 1.000000001 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 20<TCP:[61]> <0.000001>",
      "7 1.000000002 close(20) = -1 EIO (Input/output error) <0.000001>",
      "7 1.000000003 close(20) = 0 <0.000001>",
    );
    expect(calls).toHaveLength(3);
  });
});

describe("a connection that was refused", () => {
  const SERVER =
    '{sa_family=AF_INET, sin_port=htons(4000), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 ECONNREFUSED (Connection refused)';
  // strace shows no name of theirs: only the time tells whose SYN is whose.
  const earlier = [
    "7 1.0 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 20<TCP:[61]> <0.000001>",
    `7 1.1 connect(20<TCP:[61]>, ${SERVER} <0.2>`,
    "7 1.4 close(20<TCP:[61]>) = 0 <0.000001>",
  ];
  const later = [
    "8 2.0 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 21<TCP:[62]> <0.000001>",
    `8 2.1 connect(21<TCP:[62]>, ${SERVER} <0.2>`,
    "8 2.4 close(21<TCP:[62]>) = 0 <0.000001>",
  ];
  const { packets } = parseTcpdump(
    [
      "1.200000000 IP 127.0.0.1.40000 > 127.0.0.1.4000: Flags [S], seq 100, win 64, length 0",
      "1.200001000 IP 127.0.0.1.4000 > 127.0.0.1.40000: Flags [R.], seq 0, ack 101, win 0, length 0",
      "2.200000000 IP 127.0.0.1.40002 > 127.0.0.1.4000: Flags [S], seq 200, win 64, length 0",
      "2.200001000 IP 127.0.0.1.4000 > 127.0.0.1.40002: Flags [R.], seq 0, ack 201, win 0, length 0",
    ].join("\n"),
  );

  it.each([
    ["earlier", [earlier, later]],
    ["later", [later, earlier]],
  ])("has the calls of the connect() in which its SYN left: the %s program first", (_, straces) => {
    const calls = straces.flatMap((lines) => callsIn(...lines));
    const found = gather(packets, calls).map((one) => [
      one.client.port,
      one.calls.map(({ side, call, life }) => `${side} ${call.name} ${life.fd}`),
    ]);
    expect(found).toEqual([
      [40_000, ["client socket 20", "client connect 20", "client close 20"]],
      [40_002, ["client socket 21", "client connect 21", "client close 21"]],
    ]);
  });
});
