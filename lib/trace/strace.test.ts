import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ParseError } from "../sockets/parse-error.ts";
import { errnoOf, parseStrace, returned, splitArguments, type Syscall } from "./strace.ts";

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, "fixtures", name), "utf8");

describe("parseStrace on a server's capture", () => {
  const { calls, events } = parseStrace(fixture("strace-server.txt"));

  it("reads every call, with what it was given and what it returned", () => {
    const accept = calls.find(({ name }) => name === "accept4")!;
    expect(accept).toMatchObject({
      pid: 11,
      args: "24<TCP:[127.0.0.1:4000]>, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK",
      result: "25<TCP:[127.0.0.1:4000->127.0.0.1:57878]>",
      beginNs: 1795245899_318832481n,
    });
    expect(accept.endNs! - accept.beginNs).toBe(56_644n);
    expect(returned(accept)).toBe(25);
  });

  it("joins a call that others interrupted, and puts it where it began", () => {
    const add = calls.find(({ name }) => name === "epoll_ctl")!;
    expect(add.args).toContain("EPOLL_CTL_ADD, 24<TCP:[127.0.0.1:4000]>");
    expect(add.result).toBe("0");
    expect(calls.every(({ args }) => !args.includes("unfinished"))).toBe(true);
    const begins = calls.map(({ beginNs }) => beginNs);
    expect(begins).toEqual([...begins].sort((a, b) => Number(a - b)));
  });

  it("reads errors by name, and the ends of threads", () => {
    const reset = calls.find((call) => errnoOf(call) === "ECONNRESET");
    expect(reset).toMatchObject({ name: "read" });
    expect(returned(reset!)).toBeUndefined();
    expect(events.map(({ text }) => text)).toContain("exited with 0");
  });
});

describe("parseStrace", () => {
  it("reads lines without a pid, without -T, with [pid N], with any number of digits", () => {
    const text = [
      "1.5 close(3) = 0",
      "[pid    23] 2.000001 close(3)        = -1 EBADF (Bad file descriptor) <0.000002>",
    ].join("\n");
    expect(parseStrace(text).calls).toEqual([
      {
        ...{ pid: 0, name: "close", args: "3", beginNs: 1500000000n, endNs: 1500000000n },
        ...{ result: "0", doneByNs: undefined },
      },
      {
        ...{ pid: 23, name: "close", args: "3", beginNs: 2000001000n, endNs: 2000003000n },
        ...{ result: "-1 EBADF (Bad file descriptor)", doneByNs: undefined },
      },
    ]);
  });

  it("keeps a call that never returned: its thread was waiting when it ended", () => {
    const text = "7 1.0 read(3,  <unfinished ...>\n7 2.0 +++ killed by SIGKILL +++\n";
    expect(parseStrace(text).calls).toMatchObject([{ name: "read", result: undefined }]);
  });

  it("keeps a call in which strace left the process", () => {
    const text = "7 1.0 epoll_pwait(14<anon_inode:[eventpoll]>,  <detached ...>\n";
    expect(parseStrace(text).calls).toMatchObject([{ name: "epoll_pwait", result: undefined }]);
  });

  it("skips what strace says about itself", () => {
    expect(parseStrace("strace: Process 12 attached\n").calls).toEqual([]);
  });

  it.each([
    ["hello", "no time"],
    ["12 1.0 hello", "no system call"],
    ["12 1.0 close(3)", "no result"],
    ["12 1.0 <... read resumed>) = 0", "read resumed without having begun"],
  ])("refuses %j: %s, and quotes the line", (text, reason) => {
    expect(() => parseStrace(`12 1.0 close(3) = 0\n${text}`)).toThrow(
      expect.objectContaining({ code: "TFL_PARSE", reason, line: 2, text }),
    );
  });

  it("never throws anything but a ParseError", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "1 2.0 ",
        "read(3, ",
        " <unfinished ...>",
        "<... read resumed>",
        ") = 0",
        "\n",
      ),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          parseStrace(pieces.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(ParseError);
        }
      }),
    );
  });

  /** As strace prints a string: quotes and what is not printable escaped. */
  const quoted = fc.string({ maxLength: 20 }).map((text) => JSON.stringify(text));
  const argument = fc.oneof(
    quoted,
    fc.nat(99).map(String),
    fc.nat(99).map((fd) => `${fd}<TCP:[127.0.0.1:${fd}->127.0.0.1:4000]>`),
    fc.constantFrom("NULL", "{events=EPOLLIN, data={u32=1, u64=1}}", "[1, 2]", "A|B"),
  );
  const call = fc.record({
    pid: fc.integer({ min: 1, max: 4 }),
    name: fc.constantFrom("read", "write", "epoll_pwait", "accept4"),
    args: fc.array(argument, { maxLength: 4 }),
    result: fc.constantFrom("0", "17", "-1 EAGAIN (Resource temporarily unavailable)", "?"),
    tookNs: fc.integer({ min: 0, max: 2_000_000_000 }),
    isInterrupted: fc.boolean(),
  });
  const stamp = (ns: bigint): string =>
    `${ns / 1_000_000_000n}.${`${ns % 1_000_000_000n}`.padStart(9, "0")}`;

  it("reads back whatever calls are printed as strace does, interrupted or not", () => {
    fc.assert(
      fc.property(fc.array(call), (made) => {
        const lines: { pid: number; atNs: bigint; text: string }[] = [];
        const expected: (Syscall & { line: number })[] = [];
        let atNs = 1_795_245_899_000_000_000n;
        for (const { pid, name, args, result, tookNs, isInterrupted } of made) {
          atNs += 1_000n;
          const endNs = atNs + BigInt(tookNs);
          const all = args.join(", ");
          const cut = isInterrupted ? (args[0] ?? "") : all;
          const ending = `) = ${result} <${stamp(BigInt(tookNs))}>`;
          const opening = `${pid} ${stamp(atNs)} ${name}(${cut}`;
          if (isInterrupted) {
            lines.push({ pid, atNs, text: `${opening} <unfinished ...>` });
            const resumed = `<... ${name} resumed>${all.slice(cut.length)}${ending}`;
            lines.push({ pid, atNs: endNs, text: `${pid} ${stamp(endNs)} ${resumed}` });
          } else lines.push({ pid, atNs, text: `${opening}${ending}` });
          const read = { pid, name, args: all, result, beginNs: atNs, endNs };
          expected.push({ ...read, doneByNs: undefined, line: lines.length });
          atNs = endNs;
        }
        const text = lines.map(({ text }) => text).join("\n");
        const nextOf = ({ pid, line }: (typeof expected)[number]): bigint | undefined =>
          lines.slice(line).find((next) => next.pid === pid)?.atNs;
        expect(parseStrace(text).calls).toEqual(
          expected.map(({ line, ...call }) => ({ ...call, doneByNs: nextOf({ line, ...call }) })),
        );
      }),
    );
  });

  it("splits arguments where the program did", () => {
    fc.assert(
      fc.property(fc.array(argument), (args) => {
        expect(splitArguments(args.join(", "))).toEqual(args);
      }),
    );
  });
});
