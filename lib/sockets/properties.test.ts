/** What must hold for every table and for every text, not only for those that somebody has captured. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FORMATS } from "./formats.ts";
import { ParseError } from "./parse-error.ts";
import { countSockets, countStream, parseSockets, parseStream } from "./parse.ts";
import { addressOf } from "./proc-net.ts";
import { emptyCounts, TCP_STATES, type TcpState } from "./record.ts";
import { stateSpellings } from "./state-names.ts";

type Socket = {
  readonly state: TcpState;
  readonly local: readonly [address: string, port: number];
  readonly remote: readonly [address: string, port: number];
  readonly recvQ: number;
  readonly sendQ: number;
  readonly pid: number;
  readonly name: string;
};

const endpoint = (address: fc.Arbitrary<string>): fc.Arbitrary<[string, number]> =>
  fc.tuple(address, fc.integer({ min: 1, max: 65_535 }));

/** As inet_ntop prints it: canonical, without the dotted form of RFC 5952 that not all tools use. */
const ipv6 = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 })
  .map((groups) =>
    groups.map((group) => group.toString(16).padStart(4, "0").toUpperCase()).join(""),
  )
  .map((hex) => addressOf(hex, false))
  .filter((address) => !address.startsWith("::ffff:"));

const sockets = (address: fc.Arbitrary<string>): fc.Arbitrary<Socket[]> =>
  fc.array(
    fc.record({
      state: fc.constantFrom(...TCP_STATES),
      local: endpoint(address),
      remote: endpoint(address),
      recvQ: fc.nat(),
      sendQ: fc.nat(),
      pid: fc.integer({ min: 1, max: 99_999 }),
      name: fc.oneof(
        fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}[a-z]$/),
        fc.constantFrom("tcp", "udp", "tcp6", "stream", "users", "listen", "state"),
      ),
    }),
    { minLength: 1, maxLength: 30 },
  );

/** How a tool of one family spells a state. */
const spelled = (state: TcpState, pattern: RegExp): string =>
  stateSpellings().find(([word, meant]) => meant === state && pattern.test(word))?.[0] ?? state;

const at = ([address, port]: readonly [string, number]): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
const dotted = ([address, port]: readonly [string, number]): string => `${address}.${port}`;
const hexPort = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");
/** As a little-endian kernel prints it: each 32-bit word with its bytes in reverse. */
const hexAddress = (address: string): string =>
  (address.includes(":") ? groupsOf(address) : bytesOf(address))
    .replaceAll(/(..)(..)(..)(..)/g, "$4$3$2$1")
    .toUpperCase();
const bytesOf = (address: string): string =>
  address
    .split(".")
    .map((byte) => Number(byte).toString(16).padStart(2, "0"))
    .join("");
const groupsOf = (address: string): string => {
  const [before = [], behind = []] = address
    .split("::")
    .map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array<string>(8 - before.length - behind.length).fill("0");
  return [...before, ...zeros, ...behind].map((group) => group.padStart(4, "0")).join("");
};
const procCode = (state: TcpState): string => {
  const codes =
    "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING";
  return (codes.split(" ").indexOf(state) + 1).toString(16).toUpperCase().padStart(2, "0");
};

type Printer = {
  readonly row: (socket: Socket) => string;
  readonly header: string;
  /** What the format shows of a socket. */
  readonly shows: readonly ("queues" | "pid" | "name")[];
};

const bsd = /^(?!.*\d$)|_\d$/;
const PRINTERS: Readonly<Record<string, Printer>> = {
  ss: {
    header: "State  Recv-Q Send-Q  Local Address:Port  Peer Address:Port Process\n",
    row: ({ state, recvQ, sendQ, local, remote, name, pid }) =>
      `${spelled(state, /^(ESTAB|UNCONN|LISTEN|CLOSING|[A-Z]+-.*)$/)} ${recvQ} ${sendQ} ${at(local)} ${at(remote)} users:(("${name}",pid=${pid},fd=3))\n`,
    shows: ["queues", "pid", "name"],
  },
  "ss without details": {
    header: "",
    row: ({ state, recvQ, sendQ, local, remote }) =>
      `tcp ${spelled(state, /^(ESTAB|UNCONN|LISTEN|CLOSING|[A-Z]+-.*)$/)} ${recvQ} ${sendQ} ${at(local)} ${at(remote)}  \n`,
    shows: ["queues"],
  },
  "netstat-linux": {
    header: "Proto Recv-Q Send-Q Local Address  Foreign Address  State  PID/Program name\n",
    row: ({ state, recvQ, sendQ, local, remote, name, pid }) =>
      `tcp ${recvQ} ${sendQ} ${local.join(":")} ${remote.join(":")} ${state} ${pid}/${name}\n`,
    shows: ["queues", "pid", "name"],
  },
  "netstat-bsd": {
    header: "Proto Recv-Q Send-Q  Local Address  Foreign Address  (state)\n",
    row: ({ state, recvQ, sendQ, local, remote }) =>
      `tcp4 ${recvQ} ${sendQ} ${dotted(local)} ${dotted(remote)} ${spelled(state, bsd)}\n`,
    shows: ["queues"],
  },
  "netstat-solaris": {
    header: "TCP: IPv4\n   Local Address  Remote Address  Swind Send-Q Rwind Recv-Q  State\n",
    row: ({ state, recvQ, sendQ, local, remote }) =>
      `${dotted(local)} ${dotted(remote)} 131008 ${sendQ} 128872 ${recvQ} ${spelled(state, bsd)}\n`,
    shows: ["queues"],
  },
  "netstat-windows": {
    header: "\r\nActive Connections\r\n\r\n  Proto  Local Address  Foreign Address  State  PID\r\n",
    row: ({ state, local, remote, pid }) =>
      `  TCP    ${at(local)}  ${at(remote)}  ${spelled(state, bsd)}  ${pid}\r\n`,
    shows: ["pid"],
  },
  lsof: {
    header: "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n",
    row: ({ state, local, remote, pid, name }) =>
      `${name} ${pid} root 3u IPv${local[0].includes(":") ? 6 : 4} 123 0t0 TCP ${at(local)}->${at(remote)} (${state})\n`,
    shows: ["pid", "name"],
  },
  "lsof-fields": {
    header: "",
    row: ({ state, recvQ, sendQ, local, remote, pid, name }) =>
      `p${pid}\nc${name}\nf3\ntIPv4\nPTCP\nn${at(local)}->${at(remote)}\nTST=${state}\nTQR=${recvQ}\nTQS=${sendQ}\n`,
    shows: ["queues", "pid", "name"],
  },
  sockstat: {
    header: "USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS STATE\n",
    row: ({ state, local, remote, pid, name }) =>
      `root ${name} ${pid} 3 tcp ${local.join(":")} ${remote.join(":")} ${state}\n`,
    shows: ["pid", "name"],
  },
};

function expectBack(printer: Printer, printed: readonly Socket[]): void {
  const text = printer.header + printed.map(printer.row).join("");
  const parsed = parseSockets(text);
  expect(
    parsed.records.map(({ state, local, remote, recvQ, sendQ, owners: [owner] }) => ({
      state,
      local: [local.address, local.port],
      remote: [remote.address, remote.port],
      ...(printer.shows.includes("queues") ? { recvQ, sendQ } : {}),
      ...(printer.shows.includes("pid") ? { pid: owner?.pid } : {}),
      ...(printer.shows.includes("name") ? { name: owner?.name } : {}),
    })),
  ).toEqual(
    printed.map(({ state, local, remote, recvQ, sendQ, pid, name }) => ({
      state,
      local,
      remote,
      ...(printer.shows.includes("queues") ? { recvQ, sendQ } : {}),
      ...(printer.shows.includes("pid") ? { pid } : {}),
      ...(printer.shows.includes("name") ? { name } : {}),
    })),
  );
  expect(countSockets(text).counts).toEqual(parsed.counts);
}

describe("any sockets, printed in a format, parse back", () => {
  for (const [name, printer] of Object.entries(PRINTERS)) {
    it(`${name}, IPv4`, () => {
      fc.assert(fc.property(sockets(fc.ipV4()), (printed) => expectBack(printer, printed)));
    });
    it(`${name}, IPv6`, () => {
      fc.assert(fc.property(sockets(ipv6), (printed) => expectBack(printer, printed)));
    });
  }

  it("procnet", () => {
    const printer: Printer = {
      header:
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
      row: ({ state, local, remote, recvQ, sendQ }) =>
        `   0: ${hexAddress(local[0])}:${hexPort(local[1])} ${hexAddress(remote[0])}:${hexPort(remote[1])} ${procCode(state)} ${sendQ.toString(16).toUpperCase().padStart(8, "0")}:${recvQ.toString(16).toUpperCase().padStart(8, "0")} 00:00000000 00000000     0        0 1 1 0\n`,
      shows: ["queues"],
    };
    fc.assert(fc.property(sockets(fc.ipV4()), (printed) => expectBack(printer, printed)));
    fc.assert(fc.property(sockets(ipv6), (printed) => expectBack(printer, printed)));
  });

  it("tally", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 1e9 }), { minLength: 11, maxLength: 11 }), (numbers) => {
        const lines = TCP_STATES.map((state, index) => `${numbers[index] ?? 0} ${state}\n`);
        const counts = { ...emptyCounts() };
        TCP_STATES.forEach((state, index) => (counts[state] = numbers[index] ?? 0));
        expect(parseSockets(lines.join("")).counts).toEqual(counts);
      }),
    );
  });
});

describe("any text", () => {
  const captures = [
    "ss-details-6.1-linux",
    "netstat-2.10-linux",
    "lsof-fields-4.95-linux",
    "lsof-fields0-4.95-linux",
    "lsof-4.95-linux",
    "procnet-6.18-linux",
  ].map((name) =>
    readFileSync(join(import.meta.dirname, "fixtures", `${name}.txt`), "utf8").slice(0, 3_000),
  );
  const words = fc.constantFrom(
    ...'tcp udp tcp4 TCP ESTAB ESTABLISHED LISTEN LISTENING 0 128 127.0.0.1:80 [::1]:22 *:* *.* 10.0.0.1.22 ::1.80 IPv4 (LISTEN) Proto Recv-Q Send-Q (state) COMMAND PID users:(("a",pid=1,fd=2)) p12 f3 constructor __proto__ toString'.split(
      " ",
    ),
    ..."0: 0100007F:0016 01 00000000:00000000 sl local_address rem_address TCP: Swind USER % : . [ ] ( ) -> / \\".split(
      " ",
    ),
    "\n",
    "\r\n",
    "\t",
    "  ",
    "\0",
    "\uFFFD",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.array(words, { maxLength: 60 }).map((parts) => parts.join(" ")),
    fc
      .tuple(
        fc.constantFrom(...captures),
        fc.nat({ max: 2_999 }),
        fc.nat({ max: 40 }),
        fc.string({ maxLength: 10 }),
      )
      .map(
        ([capture, from, length, patch]) =>
          capture.slice(0, from) + patch + capture.slice(from + length),
      ),
  );
  const formats = fc.constantFrom("auto", "netstat", "lsof", ...FORMATS.map(({ name }) => name));

  it("is a table whose lines are all accounted for, or is refused with a ParseError", () => {
    fc.assert(
      fc.property(text, formats, (input, format) => {
        const parsed = outcome(() => parseSockets(input, format));
        if (parsed instanceof ParseError) return;
        expect(parsed.rows + parsed.skipped.length).toBe(parsed.lines);
      }),
      { numRuns: 5_000 },
    );
  });

  it("counts the same as it parses, whole or in pieces", async () => {
    await fc.assert(
      fc.asyncProperty(
        text,
        formats,
        fc.integer({ min: 1, max: 200 }),
        async (input, format, size) => {
          const parsed = outcome(() => parseSockets(input, format));
          const counted = outcome(() => countSockets(input, format));
          const streamed = await countStream(pieces(input, size), format).catch(
            (error: unknown) => error,
          );
          if (parsed instanceof ParseError) {
            expect(streamed).toBeInstanceOf(ParseError);
            return;
          }
          expect(counted).toMatchObject({
            counts: parsed.counts,
            rows: parsed.rows,
            lines: parsed.lines,
          });
          expect(streamed).toMatchObject({ counts: parsed.counts, rows: parsed.rows });
          expect(await parseStream(pieces(input, size), format)).toEqual(parsed);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

function outcome<T>(action: () => T): T | ParseError {
  try {
    return action();
  } catch (error) {
    if (error instanceof ParseError) return error;
    throw error;
  }
}

async function* pieces(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size)
    yield await Promise.resolve(text.slice(at, at + size));
}
