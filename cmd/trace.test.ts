import { execFileSync, spawn } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allPids, commandLine, socketInodes } from "../lib/kernel/process.ts";
import {
  findRung,
  networkNamespace,
  sandboxCommand,
  wayIntoNetwork,
} from "../lib/kernel/sandbox.ts";
import { hasTool } from "../lib/kernel/tools.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import {
  DIST,
  killAll,
  lastJson,
  run,
  start,
  startServer,
  until,
  type Started,
} from "../lib/testing/programs.ts";
import { SCENARIO_NAMES } from "../lib/trace/scenarios.ts";

const isMissing = !hasTool("strace") || !hasTool("tcpdump");
const scratch = mkdtempSync(join(tmpdir(), "trace-test-"));
afterAll(() => {
  killAll();
  rmSync(scratch, { recursive: true });
});

type RowJson = {
  readonly atUs: number;
  readonly kind: "call" | "packet";
  readonly side: "client" | "server";
  readonly name?: string;
  readonly flags?: readonly string[];
  readonly got?: number;
  readonly asked?: number;
  readonly phase?: string;
  readonly tookUs?: number;
  readonly states?: Readonly<Record<"client" | "server", string>>;
};
type TraceJson = {
  readonly version: number;
  readonly rows: readonly RowJson[];
  readonly checks: readonly {
    readonly text: string;
    readonly found: string;
    readonly held: boolean;
  }[];
  readonly conversations: readonly { readonly packets: number }[];
  readonly notes: readonly string[];
  readonly workloads: readonly { readonly role: string; readonly calls: Record<string, number> }[];
};

function statusOf(pid: number): string {
  return readFileSync(`/proc/${pid}/status`, "latin1");
}

/** Who traces a process; 0 for nobody. */
function tracerOf(pid: number): number {
  return Number(/^TracerPid:\t(\d+)$/m.exec(statusOf(pid))?.[1]);
}

function childrenOf(pid: number): readonly number[] {
  const pids = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
  return pids.split(" ").filter(Boolean).map(Number);
}

/** A server on port 2323 of a network of its own. */
async function serverElsewhere(): Promise<{ readonly pid: number; readonly inside: Started }> {
  const rung = await findRung();
  const [file = "", ...args] = sandboxCommand(rung, [
    "sh",
    "-c",
    'ip link set lo up; exec "$0" "$@"',
  ]);
  const inside = start("server", ["--port", "2323"], { through: [file, ...args] });
  const isServer = (pid: number): boolean =>
    commandLine(pid).slice(1).join(" ").startsWith(`${DIST}/cmd/server.js --port 2323`);
  const hasListener = (pid: number): boolean =>
    readProcNet({ pid }).some(({ state }) => state === "LISTEN");
  const [pid = 0] = await until(
    () =>
      allPids().filter(
        (pid) => isServer(pid) && networkNamespace(pid) !== networkNamespace() && hasListener(pid),
      ),
    (pids) => pids.length > 0,
  );
  return { pid, inside };
}

async function traced(...flags: string[]): Promise<TraceJson> {
  const finished = await run("trace", ["--json", ...flags]);
  expect([0, 1], finished.stderr).toContain(finished.code);
  const seen = lastJson(finished) as TraceJson;
  expect(seen.checks.filter(({ held }) => !held)).toEqual([]);
  expect(finished.code).toBe(0);
  return seen;
}

/** Processes that go by the name of strace, its own helpers included, with this word on their command line. */
function stracesOf(word: string): readonly number[] {
  return allPids().filter((pid) => {
    const words = commandLine(pid);
    return words[0] === "strace" && words.includes(word);
  });
}

describe.skipIf(isMissing)("trace: scenarios", () => {
  it.concurrent.each(SCENARIO_NAMES)(
    "%s: every check holds, the socket table agrees with the packets, rows are in the order of time",
    async (name) => {
      const { rows, checks } = lastJson(await run("trace", ["--json", "-s", name])) as TraceJson;
      expect(checks.filter(({ held }) => !held)).toEqual([]);
      expect(checks.map(({ text }) => text).join("\n")).toContain("one clock");
      const times = rows.map(({ atUs }) => atUs);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    },
  );
});

describe.skipIf(isMissing)("trace: one echo", () => {
  let seen: TraceJson;
  beforeAll(async () => {
    seen = await traced("--save", scratch);
  });
  const index = (holds: (row: RowJson) => boolean): number => seen.rows.findIndex(holds);

  it("shows the kernel ending the handshake before accept() returns", () => {
    const established = index(({ states }) => states?.server === "ESTABLISHED");
    expect(established).toBeGreaterThan(0);
    expect(index(({ name }) => name?.startsWith("accept") === true)).toBeGreaterThan(established);
  });

  it("shows what read() was asked for and what it gave", () => {
    const read = seen.rows.find(({ side, name }) => side === "server" && name === "read");
    expect(read).toMatchObject({ asked: 65_536, got: "hello, TCP".length });
  });

  it("goes through the states of RFC 9293, each side its own", () => {
    const states = (side: "client" | "server"): string[] => [
      ...new Set(seen.rows.flatMap((row) => row.states?.[side] ?? [])),
    ];
    // FIN_WAIT2 is passed within one segment when the server's FIN carries the ACK.
    expect(states("client").filter((state) => state !== "FIN_WAIT2")).toEqual([
      "SYN_SENT",
      "ESTABLISHED",
      "FIN_WAIT1",
      "TIME_WAIT",
    ]);
    expect(states("server").filter((state) => state !== "CLOSE_WAIT")).toEqual([
      "LISTEN",
      "SYN_RECV",
      "ESTABLISHED",
      "LAST_ACK",
      "CLOSE",
    ]);
  });

  it("keeps a capture that tcpdump reads, strace's own text, and the JSON", () => {
    const text = execFileSync("tcpdump", ["-nn", "-r", join(scratch, "capture.pcap")], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    // The second handshake is the one without strace.
    expect(text.match(/Flags \[S\]/g)).toHaveLength(2);
    expect(readFileSync(join(scratch, "strace-server.txt"), "utf8")).toContain("accept4(");
    expect(JSON.parse(readFileSync(join(scratch, "trace.json"), "utf8"))).toMatchObject({
      version: 1,
    });
  });
});

describe.skipIf(isMissing)("trace", () => {
  it("tells the story that was asked for, whatever the user has set for programs started by hand", async () => {
    const env = { HOST: "192.0.2.1", PORT: "1", LEAK: "true", ALLOW_REMOTE: "banana" };
    const finished = await run("trace", ["--json"], { env });
    expect(finished.code, finished.stderr).toBe(0);
    const { rows, checks } = lastJson(finished) as TraceJson;
    expect(checks.filter(({ held }) => !held)).toEqual([]);
    expect(rows.map(({ states }) => states?.server)).toContain("LAST_ACK");
    const command = await run("trace", ["--", "sh", "-c", "echo is $LEAK"], { env });
    expect(command.stderr).toContain("is true");
  });

  it("keeps one recording in a folder, not parts of two; of a command that opened nothing there is no zero", async () => {
    const folder = mkdtempSync(join(scratch, "again-"));
    await traced("--save", folder);
    expect(readdirSync(folder)).toContain("strace-server.txt");
    const { zero } = lastJson(await run("trace", ["--json", "--save", folder, "--", "true"])) as {
      zero: string | null;
    };
    expect(zero).toBeNull();
    expect(readdirSync(folder).filter((name) => name.startsWith("strace"))).toEqual([
      "strace-command.txt",
    ]);
  });

  it("says who traces a process already", async () => {
    const server = await startServer();
    const other = start("trace", ["--pid", `${server.pid}`, "--for-ms", "30000"]);
    const tracer = await until(
      () => tracerOf(server.pid),
      (pid) => pid > 0,
    );
    const { code, stderr } = await run("trace", ["--pid", `${server.pid}`]);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringContaining(
        `process ${server.pid} is traced by process ${tracer} already`,
      ) as string,
    });
    other.child.kill("SIGINT");
    await other.finished;
  });

  it("compares one connection with 23, and counts the calls of both sides", async () => {
    const { conversations, workloads, checks } = await traced("--connections", "23");
    expect(checks.map(({ text }) => text).join("\n")).toContain("one clock");
    expect(checks.filter(({ held }) => !held)).toEqual([]);
    expect(conversations).toHaveLength(23);
    const calls = Object.fromEntries(workloads.map((one) => [one.role, one.calls]));
    expect(calls["server"]).toMatchObject({ accept4: 23, listen: 1 });
    expect(calls["client"]).toMatchObject({ connect: 23, close: 23 });
  });

  it.each([80, 120])("fits into %i columns", async (columns) => {
    const { stdout, code } = await run("trace", ["--columns", `${columns}`]);
    expect(code).toBe(0);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(stdout).toMatch(/-> SYN seq 0\n?/);
    expect(stdout).toContain("TIME_WAIT");
  });

  it("draws the same as a sequence diagram", async () => {
    const { stdout } = await run("trace", ["--mermaid"]);
    expect(stdout.split("\n")[0]).toBe("sequenceDiagram");
    expect(stdout).toContain("ck->>sk: SYN seq 0");
    expect(stdout).toContain("Note over ck,sk: client TIME_WAIT, server CLOSE");
  });

  it("traces any command, and lets it print", async () => {
    const script = `
      const server = require("net").createServer((socket) => socket.end("bye"));
      server.listen(0, "127.0.0.1", () => {
        const client = require("net").connect(server.address().port, "127.0.0.1");
        client.on("data", (data) => console.log("got", String(data))).on("end", () => server.close());
      });`;
    const finished = await run("trace", ["--json", "--", process.execPath, "-e", script]);
    expect(finished.code).toBe(0);
    expect(finished.stderr).toBe("got bye\n");
    const { rows, checks } = lastJson(finished) as TraceJson;
    expect(checks.map(({ text }) => text).join("\n")).toContain("one clock");
    expect(checks.filter(({ held }) => !held)).toEqual([]);
    expect(rows.find(({ name, side }) => name === "write" && side === "server")).toMatchObject({
      got: 3,
    });
  });

  it.each([
    ["exit 7", 7],
    ["kill -SEGV $$", 139],
  ])("says how a command has ended: sh -c '%s'", async (script, ended) => {
    const finished = await run("trace", ["--json", "--", "sh", "-c", script]);
    expect(finished.stderr).toBe(`trace: the command ended with ${ended}\n`);
    expect(lastJson(finished)["programs"]).toMatchObject([{ role: "command", exitCode: ended }]);
  });

  it("joins a running process, shows what it did meanwhile, and lets it go", async () => {
    const server = await startServer();
    const trace = start("trace", ["--json", "--pid", `${server.pid}`]);
    const status = (): string => readFileSync(`/proc/${server.pid}/status`, "latin1");
    await until(status, (text) => !/^TracerPid:\t0$/m.test(text));
    await run("client", ["--port", `${server.port}`]);
    trace.child.kill("SIGINT");
    const { rows } = lastJson(await trace.finished) as TraceJson;
    expect(rows.map(({ name }) => name)).toContain("accept4");
    expect(status()).toMatch(/^TracerPid:\t0$/m);
    expect((await run("client", ["--port", `${server.port}`])).code).toBe(0);
  });

  it("keeps what it has, and says what is missing, when tcpdump or strace is killed", async () => {
    const server = await startServer();
    const trace = start("trace", ["--json", "--pid", `${server.pid}`, "--for-ms", "600000"]);
    const tracer = await until(
      () => tracerOf(server.pid),
      (pid) => pid > 0,
    );
    const siblings = childrenOf(childrenOf(trace.pid)[0] ?? 0);
    const isTcpdump = (pid: number): boolean => commandLine(pid)[0] === "tcpdump";
    // Where an ordinary user may not capture, there is none.
    const tcpdump = siblings.find(isTcpdump);
    if (tcpdump !== undefined) process.kill(tcpdump, "SIGKILL");
    await run("client", ["--port", `${server.port}`]);
    process.kill(tracer, "SIGKILL");
    const finished = await trace.finished;
    const { rows, notes } = lastJson(finished) as TraceJson;
    expect(finished.code).toBe(0);
    expect(rows.map(({ name }) => name)).toContain("accept4");
    expect(notes[0]).toMatch(
      tcpdump === undefined
        ? /^no packets: /
        : /^packets are missing: tcpdump was ended by SIGKILL$/,
    );
    expect(notes).toContain("calls are missing: strace was killed");
  });

  it("says that strace was killed also where it has left no line without an end", async () => {
    const busy = spawn("sh", ["-c", "while :; do :; done"], { timeout: 60_000 });
    const trace = start("trace", ["--json", "--pid", `${busy.pid}`, "--for-ms", "600000"]);
    const tracer = await until(
      () => tracerOf(busy.pid ?? 0),
      (pid) => pid > 0,
    );
    process.kill(tracer, "SIGKILL");
    const finished = await trace.finished;
    busy.kill();
    const { notes } = lastJson(finished) as TraceJson;
    expect(notes).toContain("calls are missing: strace was killed");
  });

  it("takes a command that was killed for no strace that was", async () => {
    const finished = await run("trace", ["--json", "--", "sh", "-c", "kill -KILL $$"]);
    expect((lastJson(finished) as TraceJson).notes).toEqual([]);
  });

  it("knows the sockets of a process that lives in another network", async () => {
    const { pid, inside } = await serverElsewhere();
    const way = (await wayIntoNetwork(pid)) ?? [];
    const trace = start("trace", ["--json", "--pid", `${pid}`]);
    const mayTrace = !way.includes("--user") || way.includes("--keep-caps");
    if (mayTrace) {
      await until(
        () => tracerOf(pid),
        (tracer) => tracer > 0,
      );
      await run("client", ["--port", "2323"], { through: way });
      trace.child.kill("SIGINT");
      const { rows } = lastJson(await trace.finished) as TraceJson;
      expect(rows.map(({ name }) => name)).toEqual(expect.arrayContaining(["accept4", "write"]));
      expect(rows.map(({ kind }) => kind)).toContain("packet");
    } else {
      // An ordinary user's nsenter before util-linux 2.40: the server has capabilities in there, and strace could not be given them.
      const { code, stderr } = await trace.finished;
      expect([code, stderr]).toEqual([2, expect.stringContaining("or one with capabilities")]);
    }
    inside.child.kill("SIGKILL");
  });

  it.each(["SIGINT", "SIGTERM"])(
    "has all of a process when %s reaches whatever it has started, as from a terminal or timeout(1)",
    async (signal) => {
      const server = await startServer();
      const words = ["--json", "--pid", `${server.pid}`, "--for-ms", "600000"];
      const trace = start("trace", words, { through: ["setsid"] });
      await until(
        () => tracerOf(server.pid),
        (pid) => pid > 0,
      );
      const client = start("client", ["--port", `${server.port}`, "--messages", "1000000000"]);
      await until(
        () => readProcNet().filter(({ local }) => local.port === server.port),
        (sockets) => sockets.some(({ state, inode = 0 }) => state === "ESTABLISHED" && inode > 0), // Accepted.
      );
      process.kill(-trace.pid, signal);
      const finished = await trace.finished;
      client.child.kill("SIGINT");
      const { rows, notes } = lastJson(finished) as TraceJson;
      expect(rows.map(({ name }) => name)).toContain("accept4");
      expect(notes.filter((note) => note.startsWith("calls are missing"))).toEqual([]);
    },
  );

  it("has what a command does at its end when a Ctrl-C reaches whatever it has started", async () => {
    const script = `
      const { connect, createServer } = require("node:net");
      const server = createServer((socket) => socket.end("bye")).listen(0, "127.0.0.1", () => {
        const sayGoodbye = () => connect(server.address()).on("end", () => process.exit()).resume();
        process.on("SIGTERM", () => undefined).once("SIGINT", sayGoodbye);
        console.log("ready");
      });`;
    const words = ["--json", "--", process.execPath, "-e", script];
    const trace = start("trace", words, { through: ["setsid"] });
    await until(trace.stderr, (text) => text.includes("ready"));
    process.kill(-trace.pid, "SIGINT");
    const finished = await trace.finished;
    expect(finished.stderr).not.toContain("strace:");
    const { rows } = lastJson(finished) as TraceJson;
    expect(rows.map(({ name }) => name)).toEqual(expect.arrayContaining(["connect", "accept4"]));
  });

  it("leaves nothing behind when it is interrupted", async () => {
    const trace = start("trace", ["--scenario", "keep-alive"]);
    const inside = (): readonly number[] =>
      allPids().filter((pid) => commandLine(pid).join(" ").includes("actor-main.js keeper"));
    await until(inside, (pids) => pids.length > 0);
    trace.child.kill("SIGINT");
    expect((await trace.finished).code).toBe(130);
    await until(inside, (pids) => pids.length === 0);
  });

  it.each([
    ["a process", 0, "alone"],
    ["a process", 1, "alone"],
    ["a command", 0, "alone"],
    ["a command", 1, "alone"],
    ["a process", 0, "with all that it has started, as at a terminal"],
    ["a process", 1, "with all that it has started, as at a terminal"],
    ["a command", 0, "with all that it has started, as at a terminal"],
    ["a command", 1, "with all that it has started, as at a terminal"],
  ])("ends %s at the first Ctrl-C, %i strace(s) under way, %s", async (what, begun, who) => {
    const server = await startServer();
    const words =
      what === "a process"
        ? ["--for-ms", "600000", "--pid", `${server.pid}`]
        : ["--", "sleep", `6${server.pid}`];
    const trace = start("trace", words, { through: ["setsid"] });
    const straces = (): number => stracesOf(words.at(-1)!).length;
    await until(trace.stderr, (text) => text.includes("Ctrl-C to stop"));
    if (begun > 0) await until(straces, (count) => count > 0);
    process.kill(who === "alone" ? trace.pid : -trace.pid, "SIGINT");
    const finished = await trace.finished;
    expect(finished.code, finished.stderr).toBe(130);
    await until(straces, (count) => count === 0);
  });

  it.skipIf(!hasTool("perl"))(
    "ends at a Ctrl-C that meets strace in its own tests, whose child is stopped then",
    async () => {
      const folder = mkdtempSync(join(scratch, "testing-"));
      // As strace does it: a child with the same command line, that stops itself.
      const script = "#!/usr/bin/perl\nif (fork == 0) { kill STOP => $$; exit } sleep 60;\n";
      writeFileSync(join(folder, "strace"), script, { mode: 0o755 });
      const server = await startServer();
      const trace = start("trace", ["--", "sleep", `7${server.pid}`], {
        through: ["setsid"],
        env: { PATH: `${folder}:${process.env["PATH"] ?? ""}` },
      });
      const stopped = (): readonly number[] =>
        allPids().filter((pid) => {
          const words = commandLine(pid);
          return words[1] === join(folder, "strace") && statusOf(pid).includes("State:\tT");
        });
      await until(stopped, (pids) => pids.length === 1);
      process.kill(-trace.pid, "SIGINT");
      expect((await trace.finished).code).toBe(130);
      expect(stopped()).toEqual([]);
    },
  );

  it("takes a recording that a Ctrl-C has ended for a Ctrl-C, and one that was killed for a failure", async () => {
    const ended = async (by: string): Promise<unknown> => {
      const folder = mkdtempSync(join(scratch, "ended-"));
      writeFileSync(join(folder, "env"), `#!/bin/sh\nkill -${by} $$\n`, { mode: 0o755 });
      const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
      const { code, stderr } = await run("trace", ["--pid", `${process.pid}`], { env });
      return [code, stderr.split("\n")[2]];
    };
    expect(await ended("INT")).toEqual([130, ""]);
    expect(await ended("KILL")).toEqual([
      2,
      "trace: the recording was ended by SIGKILL [TFL_NEEDS]",
    ]);
  });

  it("leaves a process that it has hardly joined, and takes one without a call for nobody else's", async () => {
    const ends = await Promise.all(
      [1, 10, 20, 30, 40].map(async (forMs) => {
        const idle = spawn("sleep", ["60"]);
        const flags = ["--pid", `${idle.pid}`, "--for-ms", `${forMs}`];
        const { stderr } = await run("trace", flags);
        idle.kill();
        expect(stracesOf(`${idle.pid}`)).toEqual([]);
        return stderr.trimEnd().slice(-"Ctrl-C to stop.".length);
      }),
    );
    expect(ends).toEqual(ends.map(() => "Ctrl-C to stop."));
  });

  it("names the package of a tool that is missing", async () => {
    const folder = mkdtempSync(join(scratch, "bin-"));
    for (const from of ["/usr/bin", "/usr/sbin"])
      for (const name of readdirSync(from))
        if (name !== "strace" && !readdirSync(folder).includes(name))
          symlinkSync(join(from, name), join(folder, name));
    const { code, stderr } = await run("trace", [], { env: { PATH: folder } });
    expect(code).toBe(2);
    expect(stderr).toContain("trace: strace is not installed (package strace) [TFL_NEEDS]");
  });

  it.each([
    ["strace", [], "strace cannot trace here: strace: PTRACE_TRACEME: not permitted"],
    ["strace", ["--", "true"], "strace cannot trace here\n"],
    ["tcpdump", [], "no packets: tcpdump: PTRACE_TRACEME: not permitted"],
    ["tcpdump", ["latency", "-c", "23"], "no packets: tcpdump: PTRACE_TRACEME: not permitted"],
  ] as const)("says what it lacks where %s may not do its work: %j", async (tool, words, why) => {
    const folder = mkdtempSync(join(scratch, "forbidden-"));
    const script = '#!/bin/sh\necho "${0##*/}: PTRACE_TRACEME: not permitted" >&2\nexit 1\n';
    writeFileSync(join(folder, tool), script, { mode: 0o755 });
    const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
    const { code, stderr } = await run("trace", words, { env });
    expect(code).toBe(2);
    expect(stderr).toContain(why);
  });

  it.each([
    [["--scenario", "no-such"], "expected one of close"],
    [["--connections", "23", "--scenario", "nagle"], "about one connection"],
    [["--pid", "4711", "--", "true"], "exclude each other"],
    [["--here"], "--here needs a command"],
    [["--scenario", "reset", "--", "true"], "--scenario has no meaning with a command"],
    [["--pid", "4711", "--wait"], "--wait has no meaning with --pid"],
    [["--for-ms", "23"], "--for-ms has no meaning with a scenario"],
    [["--json", "--mermaid"], "exclude each other"],
    [["--show", "2"], "--show: there is 1 conversation, so it takes 1, got 2"],
    [["-c", "3", "--show", "4", "--json"], "there are 3 conversations, so it takes 1 to 3, got 4"],
    [["--save", "/proc/no-such-folder"], "cannot write to /proc/no-such-folder"],
    [["--save", "/etc/hostname"], "cannot write to /etc/hostname: ENOTDIR"],
    [["--", "no-such-command"], 'there is no program "no-such-command" that may be executed'],
    [["--", "/tmp"], 'there is no program "/tmp" that may be executed'],
    [["--", ""], 'there is no program "" that may be executed'],
    [["--pid", "2147483647"], "there is no process 2147483647"],
    [["fds"], "needs one PID"],
    [["fds", "0x10"], 'needs one PID, got "0x10"'],
    [["fds", "2147483647"], "there is no process 2147483647"],
  ])("refuses %j with exit code 2: %s", async (flags, message) => {
    const { code, stdout, stderr } = await run("trace", flags);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
  });
});

type Fds = {
  readonly sockets: readonly {
    readonly fd: number;
    readonly inode: number;
    readonly role: string;
    readonly record: { readonly state: string; readonly local: { readonly port: number } };
    readonly memory: Readonly<Record<string, number>>;
    readonly watched: readonly { readonly events: readonly string[] }[];
  }[];
};

describe("trace fds", () => {
  it("finds the kernel's object behind each of 23 connections, and the listener", async () => {
    const server = await startServer();
    const client = start("client", [
      ...["--port", `${server.port}`, "--connections", "23", "--hold-ms", "30000"],
    ]);
    await until(
      () => socketInodes(server.pid).size,
      (size) => size >= 24,
    );
    const { sockets } = lastJson(await run("trace", ["fds", `${server.pid}`, "--json"])) as Fds;
    const connections = sockets.filter(({ role }) => role === "connection");
    expect(connections).toHaveLength(23);
    for (const { record, memory, watched } of connections) {
      expect(record).toMatchObject({ state: "ESTABLISHED", local: { port: server.port } });
      expect(memory["receiveLimit"]).toBeGreaterThan(0);
      expect(watched[0]?.events).toEqual(["EPOLLIN"]);
    }
    expect(sockets.filter(({ role }) => role === "listening")).toHaveLength(1);
    // lsof walks the same way, but was written by somebody else.
    const lsof = execFileSync("lsof", ["-nP", "-a", "-p", `${server.pid}`, "-iTCP", "-Fd"], {
      encoding: "utf8",
    });
    const inodes = [...lsof.matchAll(/^d(\d+)$/gm)].map((match) => Number(match[1]));
    expect(sockets.map(({ inode }) => inode).sort()).toEqual(inodes.sort());
    const { stdout } = await run("trace", ["fds", `${server.pid}`]);
    expect(stdout).toContain("accept queue: 0 wait for accept(), backlog 511");
    client.child.kill("SIGTERM");
  });

  it("tells the FIN that a program has not read from data", async () => {
    const server = await startServer(["--block-after", "1", "--block-ms", "30000"]);
    await run("client", ["--port", `${server.port}`, "--messages", "0"]);
    const { stdout } = await run("trace", ["fds", `${server.pid}`]);
    expect(stdout).toMatch(/CLOSE_WAIT .*\n.*\n +queues: the FIN not yet read, 0 bytes/);
    server.child.kill("SIGKILL");
  });

  it("looks into the network in which the process lives", async () => {
    const { pid, inside } = await serverElsewhere();
    const { sockets } = lastJson(await run("trace", ["fds", `${pid}`, "--json"])) as Fds;
    expect(sockets).toMatchObject([{ role: "listening", record: { local: { port: 2323 } } }]);
    inside.child.kill("SIGKILL");
  });
});

describe.skipIf(isMissing)("trace latency", () => {
  it("measures every connection whole, each part within the whole", async () => {
    const finished = await run("trace", ["latency", "--connections", "23", "--json"]);
    const { parts } = lastJson(finished) as {
      readonly parts: readonly {
        readonly name: string;
        readonly us: Readonly<Record<"count" | "min" | "p50" | "p99" | "max", number>>;
      }[];
    };
    const p50 = Object.fromEntries(parts.map(({ name, us }) => [name, us.p50]));
    for (const { us } of parts) {
      expect(us.count).toBe(23);
      expect(us.min).toBeLessThanOrEqual(us.p50);
      expect(us.p50).toBeLessThanOrEqual(us.max);
    }
    expect(p50["SYN to SYN-ACK"]).toBeGreaterThan(0);
    expect(p50["SYN to SYN-ACK"]).toBeLessThan(p50["SYN to the last ACK of the handshake"]!);
    expect(p50["SYN to the last ACK of the handshake"]).toBeLessThan(
      p50["connect() called to connected"]!,
    );
  });
});
