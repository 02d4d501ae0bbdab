/** Two captures in one text, one behind the other: half of it must never be dropped in silence. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FORMATS } from "./formats.ts";
import { countSockets, parseSockets } from "./parse.ts";

const own = (name: string): string =>
  readFileSync(join(import.meta.dirname, "fixtures", `${name}.txt`), "utf8");

const TEXTS: Readonly<Record<string, string>> = {
  ss: own("ss-6.1-linux"),
  procnet: own("procnet-6.18-linux"),
  "netstat-linux": own("netstat-2.10-linux"),
  "netstat-bsd":
    "Active Internet connections\n" +
    "Proto Recv-Q Send-Q Local Address Foreign Address (state)\n" +
    "tcp4 0 0 10.0.2.15.22 10.0.2.2.59913 ESTABLISHED\n" +
    "Active UNIX domain sockets\nAddress Type Recv-Q Send-Q\nfffff80003a5c000 stream 0 0\n",
  "netstat-solaris":
    "TCP: IPv4\n   Local Address  Remote Address  Swind Send-Q Rwind Recv-Q  State\n" +
    "127.0.0.1.80 127.0.0.1.1024 131008 0 128872 0 ESTABLISHED\nActive UNIX domain sockets\n",
  "netstat-windows":
    "\nActive Connections\n\n  Proto  Local Address  Foreign Address  State  PID\n" +
    "  TCP    127.0.0.1:80  127.0.0.1:1024  ESTABLISHED  4\n [server.exe]\n",
  lsof: own("lsof-4.95-linux"),
  "lsof-fields": own("lsof-fields-4.95-linux"),
  sockstat:
    "USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS STATE\n" +
    "root sshd 1294 41 tcp4 127.0.0.1:22 127.0.0.1:1024 ESTABLISHED\n",
  tally: own("uniq-ss-6.1-linux"),
};

describe("two captures in one text", () => {
  it("are tried with every format", () => {
    expect(Object.keys(TEXTS)).toEqual(FORMATS.map(({ name }) => name));
    for (const [name, text] of Object.entries(TEXTS)) expect(parseSockets(text).format).toBe(name);
  });

  for (const [first, text] of Object.entries(TEXTS))
    it.each(Object.keys(TEXTS).filter((name) => name !== first))(
      `are refused, with the line quoted: ${first} and behind it %s`,
      (second) => {
        const both = text + (TEXTS[second] ?? "");
        expect(() => parseSockets(both)).toThrow(/\(line \d+\): "/);
        expect(() => countSockets(both, first)).toThrow(/\(line \d+\): "/);
      },
    );

  it("are named for what they are, where the second would pass for details of the first", () => {
    expect(() => parseSockets(`${TEXTS["ss"] ?? ""}${TEXTS["procnet"] ?? ""}`)).toThrow(
      /^ss: a line of procnet here: two captures in one text\? \(line 46\): "  sl  local_address/,
    );
  });
});
