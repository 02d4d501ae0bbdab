/**
 * tcpdump: the text of `tcpdump -tt -nn -S -vv` becomes packets. Without -vv it can be read too, but has no sequence number
 * where a segment carries no data.
 *
 * Source: print-ip.c, print-tcp.c and print-udp.c of tcpdump.
 */
import { ParseError } from "../sockets/parse-error.ts";
import { nanoseconds } from "./strace.ts";

/** One end of a packet. */
export type PacketEnd = { readonly address: string; readonly port: number };

/** The flags of TCP, in the order of the header from the right. */
export const TCP_FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"] as const;

/** One of them. */
export type TcpFlag = (typeof TCP_FLAGS)[number];

/** One packet, as seen on the wire. */
export type Packet = {
  readonly protocol: "tcp" | "udp";
  /** Nanoseconds since 1970 on CLOCK_REALTIME. */
  readonly atNs: bigint;
  readonly from: PacketEnd;
  readonly to: PacketEnd;
  /** None for UDP. */
  readonly flags: readonly TcpFlag[];
  /** As on the wire, not relative; undefined where tcpdump prints none. */
  readonly seq: number | undefined;
  readonly ack: number | undefined;
  /** Bytes of data. */
  readonly length: number;
  /** The window field, not scaled. */
  readonly window: number | undefined;
  /** `mss 65495,sackOK,...` as tcpdump prints them; "" for none. */
  readonly options: string;
};

/** What a text of tcpdump holds. */
export type TcpdumpText = {
  readonly packets: readonly Packet[];
  /** Lines about other protocols: ARP, ICMP, and what tcpdump took apart further than UDP. */
  readonly others: readonly string[];
};

const LINE = /^(\d+\.\d+) (.*)$/;
const IP = /^(?:\S+ +(?:In|Out|B|M|P) +)?IP6? (.*)$/;
const ENDS = /^(\S+)\.(\d+) > (\S+)\.(\d+): (.*)$/;
const FLAG_LETTERS: Readonly<Record<string, TcpFlag>> = {
  F: "FIN",
  S: "SYN",
  R: "RST",
  P: "PSH",
  ".": "ACK",
  U: "URG",
  E: "ECE",
  W: "CWR",
};

/** Reads the text. A line that is no packet at all is a ParseError; packets of other protocols are set aside. */
export function parseTcpdump(text: string): TcpdumpText {
  const packets: Packet[] = [];
  const others: string[] = [];
  for (const { line, text: whole } of joined(text)) {
    const [, time = "", rest = ""] = LINE.exec(whole) ?? refuse("no time", line, whole);
    const body = IP.exec(rest)?.[1];
    const packet = body === undefined ? undefined : readPacket(body, nanoseconds(time));
    if (packet === undefined) others.push(whole);
    else packets.push(packet);
  }
  return { packets, others };
}

type Whole = { readonly line: number; readonly text: string };

/** With -v the header of IP has a line of its own, and what it carries stands below, indented by four blanks. */
function joined(text: string): readonly Whole[] {
  const found: Whole[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const last = found.at(-1);
    if (line === "" || isTalk(line)) continue;
    if (!/^\s/.test(line)) found.push({ line: index + 1, text: line });
    else if (last !== undefined) found[found.length - 1] = { ...last, text: continued(last, line) };
  }
  return found;
}

/** A line with what goes on below it in place of the header of IP. Tabs begin what a further protocol has to say. */
function continued({ text }: Whole, line: string): string {
  const inner = /^ {4}(\S.*)$/.exec(line)?.[1];
  const start = /^(\S+ (?:\S+ +(?:In|Out|B|M|P) +)?IP) \(tos /.exec(text)?.[1];
  return inner === undefined || start === undefined ? text : `${start} ${inner}`;
}

/** What tcpdump says on stderr, when both were recorded together. */
function isTalk(line: string): boolean {
  return /^(tcpdump: |reading from file |listening on |\d+ packets? )/.test(line);
}

function readPacket(body: string, atNs: bigint): Packet | undefined {
  // The header of IPv6 stands on the same line.
  const inner = body.replace(/^\((?:class|flowlabel|hlim) .*?\) (?=\S+\.\d+ > )/, "");
  const match = ENDS.exec(inner);
  if (match === null) return undefined;
  const [, fromAddress = "", fromPort, toAddress = "", toPort, rest = ""] = match;
  const ends = {
    atNs,
    from: { address: fromAddress, port: Number(fromPort) },
    to: { address: toAddress, port: Number(toPort) },
  };
  const flags = /^Flags \[([FSRP.UEWe]+|none)\]/.exec(rest)?.[1];
  if (flags !== undefined) return { ...ends, ...readTcp(flags, rest) };
  const length = /(?:^|\] |\) )UDP, length (\d+)/.exec(rest)?.[1];
  if (length === undefined) return undefined;
  return { ...ends, ...NO_TCP, length: Number(length) };
}

const NO_TCP = {
  protocol: "udp",
  flags: [],
  seq: undefined,
  ack: undefined,
  window: undefined,
  options: "",
} as const;

function readTcp(letters: string, text: string): Omit<Packet, "atNs" | "from" | "to"> {
  // Options hold commas and numbers of their own: they are taken out first.
  const options = /, options \[([^\]]*)\]/.exec(text)?.[1] ?? "";
  const plain = text.replace(/, options \[[^\]]*\]/, "");
  const number = (pattern: RegExp): number | undefined => {
    const digits = pattern.exec(plain)?.[1];
    return digits === undefined ? undefined : Number(digits);
  };
  const has = new Set(
    letters === "none" ? [] : Array.from(letters, (letter) => FLAG_LETTERS[letter]),
  );
  return {
    protocol: "tcp",
    flags: TCP_FLAGS.filter((flag) => has.has(flag)),
    seq: number(/, seq (\d+)/),
    ack: number(/, ack (\d+)/),
    length: number(/, length (\d+)/) ?? 0,
    window: number(/, win (\d+)/),
    options,
  };
}

function refuse(reason: string, line: number, text: string): never {
  throw new ParseError({ format: "tcpdump", reason, line, text });
}
