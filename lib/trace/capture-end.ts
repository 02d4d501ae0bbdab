/**
 * capture-end: how to know that tcpdump has seen everything.
 *
 * tcpdump reads from the kernel at its own pace, and throws away what it has not read when it is told to stop. So a datagram of
 * ours is sent behind everything else, and when it has arrived in the file, so has all that came before. It is taken out again.
 */
import { createSocket } from "node:dgram";
import { endianness } from "node:os";
import { setTimeout as pause } from "node:timers/promises";

/** Port 9 throws away what it is sent (RFC 863); on most machines nobody listens. */
const DISCARD_PORT = 9;
const MARK = Buffer.from("tcp-failure-lab: end of capture");
const DEADLINE_MS = 2_000;

/** Waits until the capture has caught up, 2 s at most: it may listen to another network, which our datagram does not reach. */
export async function caughtUp(captured: () => Buffer): Promise<void> {
  const socket = createSocket("udp4");
  const endMs = performance.now() + DEADLINE_MS;
  try {
    await new Promise<void>((resolve) =>
      socket.send(MARK, DISCARD_PORT, "127.0.0.1", () => resolve()),
    );
    while (!captured().includes(MARK) && performance.now() < endMs) await pause(5);
  } finally {
    socket.close();
  }
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** The file without our datagram. Source: pcap-savefile(5); numbers are in the byte order of the machine. */
export function withoutMark(pcap: Buffer): Buffer {
  const lengthAt = (at: number): number =>
    endianness() === "LE" ? pcap.readUInt32LE(at) : pcap.readUInt32BE(at);
  const parts = [pcap.subarray(0, FILE_HEADER_BYTES)];
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= pcap.length;) {
    const end = at + RECORD_HEADER_BYTES + lengthAt(at + 8);
    const record = pcap.subarray(at, end);
    if (!record.includes(MARK)) parts.push(record);
    at = end;
  }
  return Buffer.concat(parts);
}
