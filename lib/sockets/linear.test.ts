/**
 * No text takes more than linear time: what is eight times as long may cost eight times as much, not 64 times.
 *
 * Processor time and not the clock, so that other programs on the machine do not matter; and whatever is quick at the large
 * size is right, so that nothing short is compared with something shorter.
 */
import { describe, expect, it } from "vitest";
import { FORMATS } from "./formats.ts";
import { ParseError } from "./parse-error.ts";
import { countSockets, parseSockets } from "./parse.ts";
import { openCount } from "./reading.ts";

const SMALL = 6_000;
const LARGE = 8 * SMALL;
/** Four times what eight times the text should take. Quadratic work would be 64 times. */
const BOUND = 32;
/** Times below this are all the same. A step for every pair of characters of the large text takes a hundred times as long. */
const QUICK_MS = 12;
const ATTEMPTS = 6;

type Sample = { readonly header: string; readonly row: string };

const SAMPLES: Readonly<Record<string, Sample>> = {
  ss: {
    header: "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process",
    row: 'ESTAB 0 0 127.0.0.1:80 127.0.0.1:1024 users:(("a",pid=1,fd=2))',
  },
  procnet: {
    header: "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when",
    row: "   0: 0100007F:0050 0100007F:0400 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0",
  },
  "netstat-linux": {
    header: "Proto Recv-Q Send-Q Local Address  Foreign Address  State  PID/Program name",
    row: "tcp 0 0 127.0.0.1:80 127.0.0.1:1024 ESTABLISHED 1/a",
  },
  "netstat-bsd": {
    header: "Proto Recv-Q Send-Q Local Address Foreign Address (state)",
    row: "tcp4 0 0 127.0.0.1.80 127.0.0.1.1024 ESTABLISHED",
  },
  "netstat-solaris": {
    header: "TCP: IPv4\nLocal Address Remote Address Swind Send-Q Rwind Recv-Q State",
    row: "127.0.0.1.80 127.0.0.1.1024 131008 0 128872 0 ESTABLISHED",
  },
  "netstat-windows": {
    header: "  Proto  Local Address  Foreign Address  State  PID",
    row: "  TCP    127.0.0.1:80  127.0.0.1:1024  ESTABLISHED  1",
  },
  lsof: {
    header: "COMMAND PID TID USER FD TYPE DEVICE SIZE/OFF NODE NAME",
    row: "a 1 2 root 3u IPv4 123 0t0 TCP 127.0.0.1:80->127.0.0.1:1024 (ESTABLISHED)",
  },
  "lsof-fields": {
    header: "p1\nca",
    row: "f3\ntIPv4\nPTCP\nn127.0.0.1:80->127.0.0.1:1024\nTST=ESTABLISHED",
  },
  sockstat: {
    header: "USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS STATE",
    row: "root a 1 3 tcp4 127.0.0.1:80 127.0.0.1:1024 ESTABLISHED",
  },
  tally: { header: "1 State", row: "23 ESTAB" },
};

/** What a line is made long with: blanks, words, and the beginnings of everything that has an end. */
const UNITS: readonly string[] = [
  ...[" ", "\t", "\r", "\0", "a", "0", ":", ".", "(", ")", "[", "%", '"', ",", "/", "-", "é"],
  ...["a ", "0 ", "a:", "0: ", "-> ", "() ", "1.2.3.4:5 ", "1.2.3.4.5 ", "[::1]:5 ", "1-2 "],
  ...["tcp ", "TCP ", "IPv4 ", "ESTAB ", "NAME ", "ST= ", "a\0", "\\x41", "users:((", "))"],
  ...['("', '("a",', '("a",1,2),', '("a",pid=1,fd=2),', 'users:(("a",pid=1,fd=2)) ', "timer:("],
  ...["a:1 ", "send ", "fd=", "Local Address ", "Listen Local ", "pid "],
];

/** Texts of about `size` characters. */
const SHAPES: Readonly<
  Record<string, (sample: Sample, unit: string, size: number) => readonly string[]>
> = {
  "behind a row": ({ header, row }, unit, size) => [header, `${row} ${fill(unit, size)}`, row],
  "before a row": ({ header, row }, unit, size) => [header, `${fill(unit, size)} ${row}`, row],
  "between rows": ({ header, row }, unit, size) => [header, row, fill(unit, size), row],
  "in a word": ({ header, row }, unit, size) => [header, row.replace("a", () => fill(unit, size))],
  "on every line": ({ header, row }, unit, size) => [header, row, fill(`${unit}\n`, size), row],
};

/** One long line, and many rows that must not pay for it. Longer, for the library searches faster than we do. */
const LONG_BEFORE: typeof SHAPES = {
  "in the header": ({ header, row }, unit, size) => [
    `${header} ${fill(unit, 4 * size)}`,
    fill(`${row}\n`, 4 * size),
  ],
  "in a banner": ({ header, row }, unit, size) => [
    header,
    `Active ${fill(unit, 4 * size)}`,
    fill(`${row}\n`, 4 * size),
  ],
};

function fill(unit: string, size: number): string {
  // One flat string: V8 would keep the product of repeat() as a tree, and its first search would pay for that.
  return Buffer.from(unit.repeat(Math.ceil(size / unit.length))).toString();
}

/** Milliseconds of processor time; a text that is refused is one that was read. */
function cpuMs(action: () => unknown): number {
  const before = process.cpuUsage();
  try {
    action();
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** Undefined when it is linear, else what it took. */
function trouble(read: (size: number) => () => unknown): string | undefined {
  let [small, large] = [0, 0];
  let most = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    large = Math.min(most, cpuMs(read(LARGE)));
    most = large;
    if (large <= QUICK_MS) return undefined;
    small = Math.max(small, cpuMs(read(SMALL)));
    if (large <= BOUND * small) return undefined;
  }
  return `${small.toFixed(1)} ms for ${SMALL} characters, ${large.toFixed(1)} ms for ${LARGE}`;
}

function troubles(cases: readonly Case[]): string[] {
  return cases.flatMap(([name, read]) => {
    const found = trouble(read);
    return found === undefined ? [] : [`${name}: ${found}`];
  });
}

type Case = readonly [name: string, read: (size: number) => () => unknown];

/** Counting has short cuts of its own in these. */
const QUICK: readonly string[] = ["ss", "procnet"];

function casesOf(table: {
  shapes: typeof SHAPES;
  units: readonly string[];
  sample: Sample;
  format: string;
}): Case[] {
  const { units, sample, format } = table;
  const reads = QUICK.includes(format) ? [parseSockets, countSockets] : [parseSockets];
  return Object.entries(table.shapes).flatMap(([shape, lines]) =>
    units.flatMap((unit) =>
      reads.map((read): Case => {
        const name = `${read.name}, ${JSON.stringify(unit)} ${shape}`;
        const open = (size: number): (() => unknown) => {
          const text = lines(sample, unit, size).join("\n");
          return () => read(text, format);
        };
        return [name, open];
      }),
    ),
  );
}

describe("linear time", { timeout: 30_000 }, () => {
  it("is checked for every format, and quadratic work is found", () => {
    expect(Object.keys(SAMPLES)).toEqual(FORMATS.map(({ name }) => name));
    const quadratic = (size: number) => (): number => {
      let steps = 0;
      for (let one = 0; one < size / 4; one += 1)
        for (let other = 0; other < size / 4; other += 1) steps += (one ^ other) & 1;
      return steps;
    };
    expect(trouble(quadratic)).toMatch(/^\d+\.\d ms for 6000 characters/);
  });

  for (const [format, sample] of Object.entries(SAMPLES))
    it(`${format}, however its lines are made long`, () => {
      const cases = [
        ...casesOf({ shapes: SHAPES, units: UNITS, sample, format }),
        ...casesOf({ shapes: LONG_BEFORE, units: [" ", "a", "a "], sample, format }),
      ];
      expect(troubles(cases)).toEqual([]);
    });

  it("a line that comes in small pieces", () => {
    const cases = [1, 16].flatMap((piece) =>
      ["a", " ", "ESTAB 0 0 1.1.1.1:1 ", "ESTAB 0 0 1.1.1.1:1 2.2.2.2:2\n", "\r", "\n"].map(
        (unit): Case => [
          `${JSON.stringify(unit)} in pieces of ${piece}`,
          (size) => {
            const text = fill(unit, size);
            return () => countInPieces(text, piece);
          },
        ],
      ),
    );
    expect(troubles(cases)).toEqual([]);
  });
});

function countInPieces(text: string, piece: number): void {
  const count = openCount({ formats: FORMATS, name: "auto" });
  for (let at = 0; at < text.length; at += piece) count.push(text.slice(at, at + piece));
  count.finish();
}
