import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { decodeText } from "./decode.ts";
import { FORMATS } from "./formats.ts";
import { ParseError } from "./parse-error.ts";
import { countSockets, countStream, parseSockets, parseStream } from "./parse.ts";

const SS = "ESTAB 0 0 127.0.0.1:80 127.0.0.1:51650\nTIME-WAIT 0 0 127.0.0.1:80 127.0.0.1:51652\n";

describe("parseSockets", () => {
  it("refuses unknown text and names the formats that were tried", () => {
    const error = thrownBy(() => parseSockets("\nroot:x:0:0:root:/root:/bin/bash\n"));
    expect(error).toMatchObject({
      code: "TFL_PARSE",
      line: 2,
      text: "root:x:0:0:root:/root:/bin/bash",
      tried: FORMATS.map(({ name }) => name),
    });
    expect((error as ParseError).message).toContain("tried: ss, procnet, netstat-linux");
  });

  it("refuses text of another format than the one that was asked for", () => {
    expect(() => parseSockets(SS, "lsof")).toThrow(/tried: lsof, lsof-fields/);
  });

  it("refuses empty text, and says that it is empty", () => {
    expect(() => parseSockets("")).toThrow("empty text");
    expect(() => parseSockets("\n\n")).toThrow("only blank lines");
  });

  it("refuses compressed data, and says what to do", () => {
    const text = decodeText(gzipSync(SS));
    expect(() => parseSockets(text)).toThrow(/^compressed data: unpack it first/);
  });

  it("refuses binary data as such", () => {
    expect(() => parseSockets("\x7fELF\x02\x01\x01\0\0\0")).toThrow(/binary data/);
  });

  it("refuses a name that is no format", () => {
    expect(() => parseSockets(SS, "nestat")).toThrow("nestat: no such format");
  });

  it("takes a header without rows for an empty table", () => {
    const { counts, format } = parseSockets(
      "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n",
    );
    expect(format).toBe("ss");
    expect(Object.values(counts).every((count) => count === 0)).toBe(true);
  });

  it("accounts for every line: a record, or skipped with a reason", () => {
    const text = `Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port\r\n\r\nu_str ESTAB 0 0 * 1 * 2\r\ntcp ESTAB 0 0 127.0.0.1:80 127.0.0.1:51650\r\n\t cubic rto:204`;
    const { rows, lines, skippedByReason } = parseSockets(text);
    expect(Object.fromEntries(skippedByReason)).toEqual({
      header: 1,
      "blank line": 1,
      "u_str: not TCP or UDP": 1,
      "details of the row above": 1,
    });
    expect(rows + 4).toBe(lines);
  });

  it("leaves out what a filter refuses, and accounts for it", () => {
    const { counts, skippedByReason } = parseSockets(SS, "auto", {
      where: ({ state }) => state === "TIME_WAIT",
    });
    expect(counts).toMatchObject({ ESTABLISHED: 0, TIME_WAIT: 1 });
    expect(Object.fromEntries(skippedByReason)).toEqual({ "left out by the filter": 1 });
  });
});

describe("several tables in one text", () => {
  const ss = "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port\nLISTEN 0 9 *:80 *:*\n";
  const netstat =
    "Active Internet connections (servers and established)\n" +
    "Proto Recv-Q Send-Q Local Address Foreign Address State\ntcp 0 0 0.0.0.0:22 0.0.0.0:* LISTEN\n";
  const lsof =
    "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\nsshd 7 root 3u IPv4 44 0t0 TCP *:22 (LISTEN)\n";
  const unix = "Proto RefCnt Flags Type State I-Node Path\nunix 2 [ ] DGRAM 1 /run/x\n";
  const macOs =
    "Active Internet connections (including servers)\n" +
    "Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n" +
    "tcp4 0 0 *.22 *.* LISTEN\n" +
    "Active LOCAL (UNIX) domain sockets\nAddress Type Recv-Q Send-Q Inode Conn Refs Nextref Addr\n";
  const solaris =
    "\nTCP: IPv4\n   Local Address        Remote Address    Swind Send-Q Rwind Recv-Q    State\n" +
    "-------------------- -------------------- ----- ------ ----- ------ -----------\n" +
    "      *.22                 *.*                0      0 49152      0 LISTEN\n";
  const fields = "p7\nf3\ntIPv4\nPTCP\nn*:22\nTST=LISTEN\nm\n";

  it.each([
    ["ss", ss, ss.replaceAll("  ", "    ")],
    ["netstat -c", netstat, netstat],
    ["netstat -c, with unix sockets", netstat + unix, netstat],
    ["two of macOS", macOs, macOs],
    ["two of Solaris", solaris, solaris],
    ["lsof -r", lsof, `=======\n${lsof}`],
    ["lsof -F -r", fields, fields],
  ])("are added up, and it is said: %s", (_, one, other) => {
    for (const read of [parseSockets, countSockets]) {
      expect(read(one).notes).toEqual([]);
      const both = read(one + other);
      expect(both.counts.LISTEN).toBe(2);
      expect(both.notes).toEqual(["2 tables in one text: added up"]);
    }
    const filtered = parseSockets(one + other, "auto", { where: () => false });
    expect(filtered.notes).toContain("2 tables in one text: added up");
  });

  it("are none where only the sections of one have headers: tcp6 behind tcp, unix sockets, BSD", () => {
    const row = "00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
    const tcp = `  sl  local_address rem_address   st tx_queue\n 0: 00000000:0016 ${row}`;
    const tcp6 = `  sl  local_address   remote_address   st tx_queue\n 0: ${"0".repeat(32)}:0016 ${"0".repeat(24)}${row}`;
    const bsd =
      "Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)\n" +
      "tcp4 0 0 *.22 *.* LISTEN\n";
    for (const text of [tcp + tcp6, netstat + unix, bsd + bsd])
      expect(parseSockets(text).notes).toEqual([]);
  });
});

describe("line ends", () => {
  const unix = `State Recv-Q Send-Q Local Address:Port Peer Address:Port\n${SS}`;

  it.each([
    ["LF", "\n"],
    ["CR LF", "\r\n"],
    ["CR CR LF, as a file that was converted twice has them", "\r\r\n"],
    ["CR alone, as in old files and in what was recorded from a terminal", "\r"],
  ])("may be %s", async (_, end) => {
    const text = unix.replaceAll("\n", end);
    expect(parseSockets(text)).toEqual(parseSockets(unix));
    expect(countSockets(text).counts).toEqual(parseSockets(unix).counts);
    for (const size of [1, 2, 7, 64])
      expect(await parseStream(pieces(text, size))).toEqual(parseSockets(unix));
  });
});

describe("countSockets and countStream", () => {
  it("count what parseSockets counts, however the text is cut into pieces", async () => {
    const text = `Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port\n${SS}\t cubic\n${SS}`;
    const { counts } = parseSockets(text);
    expect(countSockets(text).counts).toEqual(counts);
    for (const size of [1, 2, 7, 64, 1_000])
      expect((await countStream(pieces(text, size))).counts).toEqual(counts);
  });

  it("refuse the same row as parseSockets does", () => {
    const text = `${SS}ESTABLISHING 0 0 127.0.0.1:80 127.0.0.1:51650\n`;
    expect(() => countSockets(text)).toThrow(/unknown state.*line 3/);
  });

  it("refuse a line of more than 1 MiB, however it is cut, with an end or without", async () => {
    const long = "x".repeat((1 << 20) + 1);
    for (const text of [`${SS}${long}`, `${SS}${long}\n`, `${SS}${long}\n${SS}`]) {
      expect(() => parseSockets(text)).toThrow(/a line of more than 1 MiB \(line 3\)/);
      for (const size of [1 << 10, 1 << 18])
        await expect(countStream(pieces(text, size))).rejects.toThrow(/more than 1 MiB \(line 3\)/);
    }
    expect(parseSockets(`${SS}${long.slice(1)}\n`).skipped).toHaveLength(1);
  });

  it("keep no more reasons and notes than anybody reads, though they quote foreign text", () => {
    const rows = Array.from(
      { length: 1_000 },
      (_, number) => `ipproto-${number} UNCONN 0 0 *:* *:*\n`,
    );
    const { skippedByReason, lines } = countSockets(rows.join(""));
    expect(skippedByReason.size).toBe(201);
    expect([...skippedByReason.values()].reduce((sum, count) => sum + count)).toBe(lines);
    // A state in any language: the note on it quotes it.
    const states = Array.from(
      { length: 1_000 },
      (_, number) => `  TCP    0.0.0.0:135    0.0.0.0:0    LISTENS-${number}    1712\n`,
    );
    const { notes, counts } = countSockets(states.join(""));
    expect([notes.length, counts.LISTEN]).toEqual([200, 1_000]);
  });

  it("refuse a line without end before it fills the memory", async () => {
    let taken = 0;
    const counted = async function* () {
      for await (const piece of pieces(`${SS}${"x".repeat(1 << 21)}`, 1 << 16)) {
        taken += 1;
        yield piece;
      }
    };
    await expect(countStream(counted())).rejects.toThrow(/a line of more than 1 MiB/);
    expect(taken).toBe(17); // 16 of them are 1 MiB, the rows before the line included.
  });
});

async function* pieces(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size)
    yield await Promise.resolve(text.slice(at, at + size));
}

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}
