import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hasTool } from "../kernel/tools.ts";
import { ERRNO_WORDS, errnoNumber, isAskedFor, namesIn, NETSTAT_WORDS } from "./symptoms.ts";

const ERRNOS = Object.keys(ERRNO_WORDS) as (keyof typeof ERRNO_WORDS)[];

/** The text of a file as in /proc/net, with a number of its own for each counter; and which it is. */
function numbered(
  path: string,
  first: number,
): { readonly text: string; readonly counters: ReadonlyMap<number, string> } {
  const counters = new Map<number, string>();
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  const changed = lines.map((line, index) => {
    if (index % 2 === 0) return line;
    const [prefix = "", ...columns] = lines[index - 1]?.split(" ") ?? [];
    const values = columns.map((column) => {
      const value = first + counters.size;
      counters.set(value, `${prefix.slice(0, -1)}${column}`);
      return value;
    });
    return [prefix, ...values].join(" ");
  });
  return { text: `${changed.join("\n")}\n`, counters };
}

/** What `netstat -s` calls each counter, by the counter's name: it reads a /proc/net of ours, in a mount namespace. */
function spelledByNetstat(): ReadonlyMap<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "symptoms-"));
  try {
    const [snmp, netstat] = [
      numbered("/proc/net/snmp", 20_000),
      numbered("/proc/net/netstat", 30_000),
    ];
    writeFileSync(join(folder, "snmp"), snmp.text);
    writeFileSync(join(folder, "netstat"), netstat.text);
    const script = 'mount --bind "$1" /proc/$$/net && exec netstat -s';
    const argv = ["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder];
    const lines = execFileSync("unshare", argv, { encoding: "utf8" }).split("\n");
    const counters = new Map([...snmp.counters, ...netstat.counters]);
    return new Map(
      lines.flatMap((line) => {
        const [, value, words] = /^ *(\d+) (\D+)$/.exec(line) ?? [];
        const counter = counters.get(Number(value));
        return counter === undefined || words === undefined ? [] : [[counter, words] as const];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("the words of logs", () => {
  it.skipIf(!hasTool("perl"))("are those of strerror(3) (needs perl)", () => {
    const script = 'for (@ARGV) { $! = $_; print "$!\\n" }';
    const numbers = ERRNOS.map((errno) => `${errnoNumber(errno)}`);
    const env = { ...process.env, LC_ALL: "C" };
    const said = execFileSync("perl", ["-e", script, ...numbers], { encoding: "utf8", env });
    expect(said.trim().split("\n")).toEqual(Object.values(ERRNO_WORDS));
  });

  it.skipIf(!hasTool("netstat"))(
    "are those of netstat -s, each for its own counter (needs netstat)",
    () => {
      const spelled = spelledByNetstat();
      for (const [counter, words] of Object.entries(NETSTAT_WORDS))
        expect(spelled.get(counter), counter).toBe(words);
    },
  );

  it("lead to the names, whatever stands around them", () => {
    expect(namesIn("recv() failed (104: Connection reset by peer)")).toEqual(["ECONNRESET"]);
    expect(namesIn("dial tcp 10.0.0.1:80: connect: cannot assign requested address")).toEqual([
      "EADDRNOTAVAIL",
    ]);
    expect(namesIn("    23 times the listen queue of a socket overflowed")).toEqual([
      "TcpExtListenOverflows",
    ]);
    expect(namesIn("a quiet night")).toEqual([]);
  });

  it("find names where they stand in the line", () => {
    expect(namesIn("Error: connect EADDRNOTAVAIL 127.0.0.1:8080 - Local (0.0.0.0:0)")).toEqual([
      "EADDRNOTAVAIL",
    ]);
    expect(namesIn("ECONNRESET, Connection reset by peer")).toEqual(["ECONNRESET"]);
    expect(namesIn("TcpExtListenOverflows           23                 0.0")).toEqual([
      "TcpExtListenOverflows",
    ]);
    expect(namesIn("bind failed, errno 98")).toEqual(["EADDRINUSE"]);
    expect(namesIn("[Errno 23] whatever; errno=2323")).toEqual(["ENFILE"]);
    expect(namesIn("ERROR: an EXAMPLE of TcpWords")).toEqual(["TcpWords"]);
  });

  it("tell a process that is out of descriptors from a machine that is", () => {
    expect(namesIn("accept: Too many open files")).toEqual(["EMFILE"]);
    expect(namesIn("accept: Too many open files in system")).toEqual(["ENFILE"]);
  });

  it("find a symptom by its name, by a part of it, and by no other name", () => {
    expect(isAskedFor("ECONNRESET from read()", "connection reset by peer")).toBe(true);
    expect(isAskedFor('"socket hang up" in a log', "Socket hang up")).toBe(true);
    expect(isAskedFor("EMFILE from accept()", "too many open files in system")).toBe(false);
    expect(isAskedFor("EPIPE from write()", "Error: write EPIPE")).toBe(true);
    expect(isAskedFor("EPIPE from write()", "Error: write EPIPER")).toBe(false);
  });

  it.each([
    ['"socket hang up" in a log', "Error: socket hang up"],
    ['"dial tcp ...: i/o timeout" in a log (Go)', "dial tcp 10.0.0.1:443: i/o timeout"],
    [
      '"nf_conntrack: table full ... dropping packet" in dmesg',
      "nf_conntrack: nf_conntrack: table full in netns 4026532000, dropping packet",
    ],
    ['"file-max limit ... reached" in dmesg', "[23.0] VFS: file-max limit 1024 reached"],
    [
      '"Possible SYN flooding on port" in dmesg',
      "request_sock_TCP: Possible SYN flooding on port 8080. Sending cookies.",
    ],
  ])("find %s by a line that has what it quotes", (symptom, line) => {
    expect(isAskedFor(symptom, line)).toBe(true);
  });

  it("find no quoted symptom by a part of its parts, or by these in another order", () => {
    const symptom = '"dial tcp ...: i/o timeout" in a log (Go)';
    expect(isAskedFor(symptom, "read tcp 10.0.0.1:443: i/o timeout")).toBe(false);
    expect(isAskedFor(symptom, "a log: i/o timeout of dial tcp")).toBe(false);
  });
});
