/**
 * No recording takes more than linear time: what is 16 times as long may cost 16 times as much, not 256 times.
 *
 * Processor time and not the clock, so that other programs on the machine do not matter.
 */
import { describe, expect, it } from "vitest";
import { gather } from "./conversations.ts";
import type { SocketCall, SocketLife } from "./descriptors.ts";
import { compare } from "./samples.ts";
import { followStates } from "./states.ts";
import { timelineOf } from "./timeline.ts";
import type { Packet, PacketEnd, TcpFlag } from "./tcpdump.ts";

const SMALL = 1_000;
const LARGE = 16 * SMALL;
/** Twice what 16 times the work should take. One quadratic step among linear ones was seen to take 50 to 100 times. */
const BOUND = 32;
/** Times below this are all the same. */
const QUICK_MS = 40;
const ATTEMPTS = 4;

function cpuMs(action: () => unknown): number {
  const before = process.cpuUsage();
  action();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** Undefined when it is linear, else what it took. */
function trouble(prepare: (size: number) => () => unknown): string | undefined {
  let [small, large] = [Infinity, Infinity];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    large = Math.min(large, cpuMs(prepare(LARGE)));
    small = Math.min(small, cpuMs(prepare(SMALL)));
    if (large <= Math.max(QUICK_MS, BOUND * small)) return undefined;
  }
  return `${small.toFixed(1)} ms at size ${SMALL}, ${large.toFixed(1)} ms at size ${LARGE}`;
}

const SERVER: PacketEnd = { address: "127.0.0.1", port: 4_000 };
const clientEnd = (index: number): PacketEnd => ({ address: "127.0.0.2", port: 10_000 + index });

const segment = (from: PacketEnd, to: PacketEnd, atNs: number, ...flags: TcpFlag[]): Packet => ({
  ...{ protocol: "tcp", atNs: BigInt(atNs), from, to, flags, options: "" },
  ...{ seq: atNs, ack: atNs, length: 1, window: 64 },
});

const accepted = (remote: PacketEnd): SocketLife => ({
  ...{ protocol: "tcp", fd: 20, local: SERVER, remote, isListener: false, origin: "accept" },
});

const call = (life: SocketLife, name: string, atNs: number): SocketCall => ({
  call: {
    ...{ pid: 1, name, args: "20", result: "1", beginNs: BigInt(atNs) },
    ...{ endNs: BigInt(atNs + 100_000), doneByNs: BigInt(atNs + 200_000) },
  },
  life,
});

describe("linear time", { timeout: 30_000 }, () => {
  it("however many conversations there are, one of which is shown", () => {
    const many = (size: number): (() => unknown) => {
      const ends = Array.from({ length: size }, (_, index) => clientEnd(index));
      // The capture began too late for the SYNs.
      const packets = ends.flatMap((end) => [
        segment(SERVER, end, 1, "ACK"),
        segment(end, SERVER, 2, "ACK"),
      ]);
      const calls = ends.flatMap((end) => {
        const life = accepted(end);
        return ["accept4", "read", "write", "close"].map((name) => call(life, name, 1));
      });
      return () => gather(packets, calls)[0]?.calls;
    };
    expect(trouble(many)).toBeUndefined();
  });

  it("however many packets, calls and looks at the socket table one conversation has", () => {
    const long = (size: number): (() => unknown) => {
      const times = Array.from({ length: 2 * size }, (_, index) => index * 1_000_000);
      const end = clientEnd(0);
      const life = accepted(end);
      const packets = times.map((atNs) => segment(end, SERVER, atNs, "ACK"));
      const calls = times.flatMap((atNs) => [
        call(life, "epoll_wait", atNs),
        call(life, "read", atNs),
      ]);
      const samples = times.map((atNs) => ({
        fromNs: `${atNs}`,
        toNs: `${atNs}`,
        rows: [],
        repeats: 0,
      }));
      return () => {
        const [one] = gather(packets, calls);
        timelineOf(one!, samples);
        compare(one!, followStates(one!.packets), samples);
      };
    };
    expect(trouble(long)).toBeUndefined();
  });
});
