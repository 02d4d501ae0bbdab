/** states from outside: exit codes, streams, and a kernel that has 23 connections. */
import {
  execFile,
  spawn,
  spawnSync,
  type ChildProcessWithoutNullStreams,
} from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { networkNamespace } from "../lib/kernel/sandbox.ts";
import { hasTool } from "../lib/kernel/tools.ts";
import { ELSEWHERE } from "../lib/testing/elsewhere.ts";
import { until } from "../lib/testing/programs.ts";
import { terminal } from "../lib/testing/terminal.ts";
import { emptyCounts, identityOf, stateNamed, type SocketRecord } from "../lib/sockets/index.ts";

const ROOT = join(import.meta.dirname, "..");
const STATES = join(ROOT, "dist/cmd/states.js");
const FIXTURES = join(ROOT, "lib/sockets/fixtures");
const SS = join(FIXTURES, "ss-6.1-linux.txt");
const TALLY = join(FIXTURES, "uniq-ss-6.1-linux.txt");
const DEADLINE_MS = 20_000;

const TWENTY_THREE = {
  ...emptyCounts(),
  ESTABLISHED: 16,
  SYN_SENT: 2,
  FIN_WAIT1: 2,
  FIN_WAIT2: 9,
  TIME_WAIT: 3,
  CLOSE_WAIT: 7,
  LAST_ACK: 2,
  LISTEN: 3,
};

type Result = { readonly code: number; readonly stdout: string; readonly stderr: string };

function run(
  args: readonly string[],
  { input = "", env = {} }: { input?: string | Buffer; env?: Record<string, string> } = {},
): Promise<Result> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [STATES, ...args],
      { env: { ...process.env, ...env }, timeout: DEADLINE_MS },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

let folder = "";
beforeAll(() => {
  if (!existsSync(STATES)) throw new Error(`${STATES} is missing: build first`);
  folder = mkdtempSync(join(tmpdir(), "states-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("states FILE", () => {
  it("prints a table of all 11 states, with neither colour nor escape sequences in a pipe", async () => {
    const { code, stdout, stderr } = await run([SS]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ESTABLISHED +16 /m);
    expect(stdout).toMatch(/^CLOSING +0 /m);
    expect(stdout).toMatch(/^44 TCP sockets, from:/m);
    expect(stdout).not.toContain("\u001B");
  });

  it("colours where it is forced to, and not where NO_COLOR is set", async () => {
    const forced = await run([SS], { env: { FORCE_COLOR: "1", NO_COLOR: "" } });
    expect(forced.stdout).toContain("\u001B[");
    const not = await run([SS], { env: { FORCE_COLOR: "1", NO_COLOR: "1" } });
    expect(not.stdout).not.toContain("\u001B");
  });

  it.each(["", "0", "false"])("takes FORCE_COLOR=%s for no force", async (FORCE_COLOR) => {
    const { stdout } = await run([SS], { env: { FORCE_COLOR, NO_COLOR: "" } });
    expect(stdout).not.toContain("\u001B");
  });

  it("prints JSON and nothing else: a version, the format and all 11 states", async () => {
    const { code, stdout, stderr } = await run([SS, "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ version: 1, format: "ss", counts: TWENTY_THREE });
    expect(JSON.parse(stdout)).not.toHaveProperty("records");
  });

  it("adds every socket with --records", async () => {
    const { stdout } = await run([SS, "--json", "--records"]);
    const { records } = JSON.parse(stdout) as { records: SocketRecord[] };
    expect(records).toHaveLength(44);
    expect(records[0]).toMatchObject({ protocol: "tcp", state: "LISTEN", line: 2 });
  });

  it("reads standard input when it is called -, and not otherwise", async () => {
    const { stdout } = await run(["-", "--json"], { input: readFileSync(SS) });
    expect(JSON.parse(stdout)).toMatchObject({ from: "standard input", counts: TWENTY_THREE });
    const live = await run(["--json", "--source", "proc"], { input: readFileSync(SS) });
    expect(JSON.parse(live.stdout)).toMatchObject({ format: "procnet" });
  });

  it("counts a stream that is longer than its memory, with a filter too, and ends one that has no lines", async () => {
    const env = { NODE_OPTIONS: "--max-old-space-size=16" };
    const rows = "ESTAB 0      0      10.23.0.1:1024      10.0.0.1:443  \n".repeat(500_000);
    const counted = await run(["-", "--json", "--remote", "443"], { input: rows, env });
    expect(JSON.parse(counted.stdout)).toMatchObject({ counts: { ESTABLISHED: 500_000 } });
    const explained = await run(["-", "--explain"], { input: rows, env });
    expect(explained.stdout).toMatch(/^ +500000 {2}sockets\n +500000 {2}in all$/m);
    const endless = "x".repeat(rows.length);
    for (const flags of [[], ["--by", "state"], ["--explain"], ["--json", "--records"]])
      expect(await run(["-", ...flags], { input: endless, env })).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(
          /^states: no line of a known format \(line 1\): "x+…"/,
        ) as string,
      });
  });

  it("asks a netstat that knows few options for less", async () => {
    const bin = join(folder, "bin");
    mkdirSync(bin);
    const script =
      '#!/bin/sh\n[ "$*" = -tan ] || { echo "netstat: invalid option" >&2; exit 1; }\necho "tcp 0 0 0.0.0.0:22 0.0.0.0:* LISTEN"\n';
    writeFileSync(join(bin, "netstat"), script, { mode: 0o755 });
    const env = { PATH: `${bin}:${process.env["PATH"] ?? ""}` };
    const { stdout } = await run(["--source", "netstat", "--json"], { env });
    expect(JSON.parse(stdout)).toMatchObject({ from: "netstat -tan", counts: { LISTEN: 1 } });
  });

  it("takes a tool that a Ctrl-C has ended for a Ctrl-C, and one that was killed for a failure", async () => {
    const ended = async (by: string): Promise<unknown> => {
      const bin = mkdtempSync(join(folder, "ended-"));
      writeFileSync(join(bin, "ss"), `#!/bin/sh\nkill -${by} $$\n`, { mode: 0o755 });
      const env = { PATH: `${bin}:${process.env["PATH"] ?? ""}` };
      return run(["--source", "ss"], { env });
    };
    expect(await ended("INT")).toMatchObject({ code: 130, stdout: "", stderr: "" });
    const why = expect.stringContaining("was killed with SIGKILL") as string;
    expect(await ended("KILL")).toMatchObject({ code: 2, stdout: "", stderr: why });
  });

  it("falls back to /proc where ss is not installed, and says so", async () => {
    const { stdout } = await run(["--json"], { env: { PATH: "/nonexistent" } });
    expect(JSON.parse(stdout)).toMatchObject({
      format: "procnet",
      notes: ["ss is not installed (package iproute2): read from /proc instead"],
    });
    const missing = await run(["--source", "lsof"], { env: { PATH: "/nonexistent" } });
    expect(missing).toMatchObject({
      code: 2,
      stderr: "states: lsof is not installed (package lsof) [TFL_CAPTURE]\n",
    });
  });

  it("counts one port, and groups by it", async () => {
    const all = JSON.parse((await run([SS, "--json", "--by", "port"])).stdout) as {
      groups: { key: string; total: number }[];
    };
    const [group] = all.groups;
    expect(group).toMatchObject({ key: "->:35603", total: 17 });
    const one = await run([SS, "--json", "--port", "35603"]);
    expect(JSON.parse(one.stdout)).toMatchObject({ counts: { CLOSE_WAIT: 7, SYN_SENT: 0 } });
    expect((await run([SS, "--by", "port"])).stdout).toMatch(/^->:35603 +17 +ESTABLISHED=3,/m);
  });

  it("groups by service where a filter leaves the listeners out, too", async () => {
    const { stdout } = await run([SS, "--json", "--by", "port", "--state", "ESTABLISHED"]);
    const { groups, notes } = JSON.parse(stdout) as { groups: { key: string }[]; notes: string[] };
    expect(groups.map(({ key }) => key)).toEqual([
      ":35603",
      "->:35603",
      "->:37423",
      "->:39295",
      ":37423",
      ":39295",
    ]);
    expect(notes).toEqual([]);
    // Guessed from what the filter lets through it would be the lower port.
    const one = "LISTEN 0 9 10.0.0.1:50080 *:*\nESTAB 0 0 10.0.0.1:50080 10.0.0.9:40001\n";
    const args = ["-", "--json", "--by", "port", "--state", "ESTABLISHED"];
    expect(JSON.parse((await run(args, { input: one })).stdout)).toMatchObject({
      groups: [{ key: ":50080" }],
    });
    const input = readFileSync(SS, "utf8").replaceAll(/^LISTEN.*\n/gm, "");
    const guessed = JSON.parse((await run(["-", "--json", "--by", "port"], { input })).stdout) as {
      notes: string[];
    };
    expect(guessed.notes).toEqual([expect.stringMatching(/^nothing listens in this table: /)]);
  });

  it.each([
    ["ESTAB 0 0 10.0.0.1:https 10.0.0.9:50001", ["--port", "443"], /^1 socket with names .*-n/],
    ["LISTEN 0 9 *:443 *:*", ["--family", "6"], /^1 socket whose family .*: left out$/],
    ["ESTAB 0 0 10.0.0.1:443 10.0.0.9:50001", ["--pid", "1"], /^no owners in this table: /],
    ["ESTAB 0 0 10.0.0.1:443 10.0.0.9:50001", ["--by", "process"], /^no owners in this table: /],
  ])("says of %j why it may have no answer to %j", async (row, args, note) => {
    const { stdout } = await run(["-", "--json", ...args], { input: `${row}\n` });
    expect(JSON.parse(stdout)).toMatchObject({ notes: [expect.stringMatching(note)] });
  });

  it.each([
    [["--state", "time_wait,LAST-ACK"], { TIME_WAIT: 3, LAST_ACK: 2 }],
    [["--local", "127.0.0.1:37423"], { LISTEN: 1, ESTABLISHED: 2 }],
    [["--remote", "37423"], { SYN_SENT: 2, ESTABLISHED: 2 }],
    [["--family", "6"], { ESTABLISHED: 3, LISTEN: 1 }],
  ])("counts only what %j lets through", async (filter, counts) => {
    const { stdout } = await run([SS, "--json", ...filter]);
    expect(JSON.parse(stdout)).toMatchObject({ counts: { ...emptyCounts(), ...counts } });
  });

  it("counts only the states that are asked for of those that somebody has counted", async () => {
    const { stdout } = await run([TALLY, "--json", "--state", "time_wait", "--explain"]);
    const look = JSON.parse(stdout) as { lines: number; rows: number; skipped: unknown[] };
    expect(look).toMatchObject({ counts: { ...emptyCounts(), TIME_WAIT: 3 }, rows: 1 });
    expect(look.rows + look.skipped.length).toBe(look.lines);
  });

  it("finds the IPv4 clients of a dual-stack server by their address, through every source", async () => {
    for (const input of [
      "ESTAB 0 0 [::ffff:10.0.0.1]:80 [::ffff:10.9.9.9]:50001\n",
      "tcp6 0 0 10.0.0.1:80 10.9.9.9:50001 ESTABLISHED\n",
      " 0: 0000000000000000FFFF00000100000A:0050 0000000000000000FFFF00000909090A:C351 01 00000000:00000000 00:00000000 00000000 0 0 1 1\n",
    ]) {
      const { stdout } = await run(["-", "--json", "--remote", "10.9.9.9"], { input });
      expect(JSON.parse(stdout)).toMatchObject({ counts: { ESTABLISHED: 1 } });
    }
  });

  it("counts only what a process holds", async () => {
    const { stdout } = await run([
      join(FIXTURES, "ss-details-6.1-linux.txt"),
      "--json",
      "--pid",
      "73",
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ counts: { ...emptyCounts(), LISTEN: 1 } });
  });

  it("accounts for every line with --explain", async () => {
    const details = join(FIXTURES, "ss-details-6.1-linux.txt");
    const { stdout } = await run([details, "--explain"]);
    expect(stdout).toMatch(/^ +44 {2}sockets$/m);
    expect(stdout).toMatch(/^ +41 {2}skipped: details of the row above$/m);
    expect(stdout).toMatch(/^ +89 {2}in all$/m);
    const json = JSON.parse((await run([details, "--explain", "--json"])).stdout) as {
      lines: number;
      rows: number;
      skipped: unknown[];
    };
    expect(json.rows + json.skipped.length).toBe(json.lines);
  });

  it("knows /proc/net/tcp from /proc/net/udp by the name of the file, and a byte order by being told", async () => {
    const header =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
    const row =
      " 1315: 00000000:14EB 00000000:0000 07 00000000:00000000 00:00000000 00000000   981        0 21040 2 0 0\n";
    writeFileSync(join(folder, "udp"), header + row);
    writeFileSync(join(folder, "net_tcp.txt"), header + row);
    const big =
      "0: 7F000001:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n";
    const swapped = await run(["-", "--endian", "big", "--local", "127.0.0.1:22", "--json"], {
      input: big,
    });
    expect(JSON.parse(swapped.stdout)).toMatchObject({ counts: { LISTEN: 1 } });
    const closed = async (name: string): Promise<number> => {
      const { stdout } = await run([join(folder, name), "--json"]);
      return (JSON.parse(stdout) as { counts: { CLOSE: number } }).counts.CLOSE;
    };
    expect([await closed("udp"), await closed("net_tcp.txt")]).toEqual([0, 1]);
  });

  it("counts what was copied from a web page or a chat, with no-break spaces", async () => {
    const input = readFileSync(SS, "utf8").replaceAll(" ", "\u00A0");
    const { stdout } = await run(["-", "--json"], { input });
    expect(JSON.parse(stdout)).toMatchObject({ counts: TWENTY_THREE });
  });

  it("takes a capture with only a header for an empty table", async () => {
    const input = "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n";
    const { code, stdout } = await run(["-", "--json"], { input });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ format: "ss", counts: emptyCounts() });
  });

  it.each([
    ["a file that does not exist", ["/nonexistent/capture"], /cannot read .*: no such file/],
    ["a directory", ["/"], /cannot read \/: it is a directory/],
    ["binary data", [process.execPath], /binary data, no table of sockets/],
    ["an empty file", ["/dev/null"], /empty text/],
    ["text that is no table", [join(ROOT, "LICENSE")], /no line of a known format .*tried: ss, /],
    ["another format than asked for", [SS, "--format", "lsof"], /tried: lsof/],
    ["two files", [SS, SS], /takes one FILE/],
    ["--watch with a file", [SS, "--watch"], /take no FILE/],
    ["an unknown source", ["--source", "ifconfig"], /expected one of auto, ss,/],
    ["--reconcile with a file", [SS, "--reconcile"], /take no FILE/],
    ["--reconcile with a filter", ["--reconcile", "--port", "80"], /it takes no --port /],
    ["--reconcile with --watch", ["--reconcile", "--watch"], /it takes no --watch /],
    ["--records without --json", [SS, "--records"], /--records needs --json/],
    ["counts with a filter", [TALLY, "--port", "80"], /only --state applies/],
    ["counts in groups", [TALLY, "--by", "state"], /only --state applies/],
    ["counts one by one", [TALLY, "--json", "--records"], /only --state applies/],
    ["counters in groups", ["--source", "counters", "--by", "port"], /no sockets to filter, group/],
    ["counters with a filter", ["--source", "counters", "--port", "80"], /no sockets to filter/],
    ["--format without a file", ["--format", "ss"], /for standard input say -/],
    ["--source with a file", [SS, "--source", "lsof"], /it takes no FILE/],
    ["--interval-ms without --watch", ["--interval-ms", "50"], /--interval-ms needs --watch/],
    ["an unknown format", [SS, "--format", "nestat"], /no such format; tried: ss, /],
    ["an unknown state", ["--state", "WAITING"], /expected states such as ESTABLISHED,/],
    ["a host name", ["--remote", "localhost"], /--remote: expected a port, an address or both/],
    ["a port out of range", ["--port", "65536"], /expected a whole number from 1 to 65535/],
  ])("exits with 2 and one line for %s", async (_, args, message) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  it("quotes the row that it cannot read, with its line number", async () => {
    const path = join(folder, "broken.txt");
    writeFileSync(path, "ESTAB 0 0 1.1.1.1:1 2.2.2.2:2\nESTABLISHING 0 0 1.1.1.1:1 2.2.2.2:2\n");
    const { code, stderr } = await run([path]);
    expect(code).toBe(2);
    expect(stderr).toContain('(line 2): "ESTABLISHING 0 0 1.1.1.1:1 2.2.2.2:2"');
  });

  it("says of a pipe that it is not read, for it was meant to be", () => {
    const of = (shell: string): string =>
      spawnSync("sh", ["-c", shell, process.execPath, STATES], { encoding: "utf8" }).stderr;
    expect(of('cat /proc/net/tcp | "$0" "$1" --json')).toBe(
      "states: this is this machine; what comes through the pipe is read with: states -\n",
    );
    for (const quiet of ["<&-", "</dev/null", "</proc/net/tcp"])
      expect(of(`"$0" "$1" --json ${quiet}`), quiet).toBe("");
    expect(of('cat /proc/net/tcp | "$0" "$1" --json -')).toBe("");
  });

  it("has no zeros for a process whose sockets are not in this table: gone, or in a network of its own", async () => {
    const [file = "", ...words] = ELSEWHERE;
    const child = spawn(file, [...words, "sleep", "60"], { stdio: "ignore" });
    const pid = child.pid ?? 0;
    await expect
      .poll(() => networkNamespace(pid), { timeout: DEADLINE_MS })
      .not.toBe(networkNamespace());
    for (const [asked, message] of [
      [
        pid,
        `process ${pid} lives in another network, as in a container; look from there: trace fds`,
      ],
      [2_147_483_647, "there is no process 2147483647"],
    ] as const) {
      const { code, stdout, stderr } = await run(["--pid", `${asked}`]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toContain(message);
    }
    child.kill("SIGKILL");
  });
});

describe("states, interrupted", () => {
  /** Interrupts when the input has been taken and `isReady`; what it prints, and how it ends. */
  async function interrupted(
    args: readonly string[],
    {
      signal,
      isReady = () => true,
      input = "",
      env = {},
    }: {
      signal: NodeJS.Signals;
      isReady?: (pid: number) => boolean;
      input?: string;
      env?: Record<string, string>;
    },
  ): Promise<Result> {
    const child = spawn(process.execPath, [STATES, ...args], {
      env: { ...process.env, ...env },
      timeout: DEADLINE_MS,
      killSignal: "SIGKILL",
    });
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (data: Buffer) => (output.stdout += data.toString()));
    child.stderr.on("data", (data: Buffer) => (output.stderr += data.toString()));
    const end = once(child, "close");
    let isTaken = false;
    child.stdin.write(input, () => (isTaken = true));
    await expect
      .poll(() => isTaken && isReady(child.pid ?? 0), { timeout: DEADLINE_MS })
      .toBe(true);
    child.kill(signal);
    const [code] = (await end) as [number];
    return { code, ...output };
  }

  it.each([
    [],
    ["--source", "ss"],
    ["--reconcile"],
    ["--watch", "--source", "ss"],
    ["--source", "counters"],
  ])("takes no further look when Ctrl-C comes while ss runs: %j", async (...args) => {
    const bin = mkdtempSync(join(folder, "slow-"));
    const started = join(bin, "started");
    const script = `#!/bin/sh\n: > ${started}\nexec sleep 30\n`;
    writeFileSync(join(bin, "ss"), script, { mode: 0o755 });
    const result = await interrupted(args, {
      signal: "SIGINT",
      isReady: () => existsSync(started),
      env: { PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    });
    expect(result).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  it("does not wait for the rest of standard input", async () => {
    // More than a pipe holds: when it has gone, it has been read.
    const input = "ESTAB 0 0 10.0.0.1:80 10.0.0.9:50001\n".repeat(50_000);
    const result = await interrupted(["-"], { signal: "SIGTERM", input });
    expect(result).toEqual({ code: 143, stdout: "", stderr: "" });
  });

  it("does not wait for the writer of a pipe", async () => {
    const path = join(mkdtempSync(join(folder, "fifo-")), "fifo");
    await promisify(execFile)("mkfifo", [path]);
    const isReady = (pid: number): boolean => holds(pid, path);
    const result = await interrupted([path], { signal: "SIGINT", isReady });
    expect(result).toEqual({ code: 130, stdout: "", stderr: "" });
  });

  function holds(pid: number, path: string): boolean {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === path;
      } catch {
        return false; // Closed meanwhile.
      }
    });
  }
});

describe("states, when its reader has stopped", () => {
  it("ends with one signal, however much is still to be written", async () => {
    const path = join(folder, "many.txt");
    const rows = Array.from(
      { length: 40_000 },
      (_, n) => `ESTAB 0 0 10.0.0.1:${n + 1} 10.0.0.2:80`,
    );
    const header = "State Recv-Q Send-Q Local Address:Port Peer Address:Port";
    writeFileSync(path, [header, ...rows, ""].join("\n"));
    const child = spawn(process.execPath, [STATES, path, "--json", "--records"]);
    const ended = once(child, "exit", { signal: AbortSignal.timeout(DEADLINE_MS) });
    await once(child.stdout, "readable"); // And nobody reads on.
    child.kill("SIGTERM");
    expect(await ended).toEqual([143, null]);
    child.stdout.destroy();
  });
});

describe.skipIf(!hasTool("tmux"))("states --watch, at a terminal", () => {
  it("leaves what stands above alone after Ctrl-Z and fg", async () => {
    const desk = terminal(join(folder, "tmux"), "sh -i", 60);
    const tables = (text: string): number => text.match(/^STATE /gm)?.length ?? 0;
    try {
      desk.type(`${process.execPath} ${STATES} --watch --interval-ms 100`);
      desk.keys("Enter");
      await until(desk.screen, (text) => tables(text) === 1);
      desk.keys("C-z");
      await until(desk.screen, (text) => /Stopped[^]*\n[#$]$/.test(text));
      desk.type("fg");
      desk.keys("Enter");
      // The table before, the shell's words, and the table that was painted since.
      const isWhole = /^LISTEN [^]*Stopped[^]* fg\n[^]*^LISTEN /m;
      await until(desk.screen, (text) => isWhole.test(text));
    } finally {
      desk.kill();
    }
  });
});

describe.skipIf(!hasTool("tmux"))(
  "states --watch, at a terminal that cannot move its cursor",
  () => {
    it("prints one line each time, as in a pipe", async () => {
      const desk = terminal(join(folder, "tmux-dumb"), "sh -i");
      try {
        desk.type(`TERM=dumb ${process.execPath} ${STATES} --watch --interval-ms 50`);
        desk.keys("Enter");
        const lines = (text: string): number => text.match(/^\d\d:\d\d:\d\d /gm)?.length ?? 0;
        const screen = await until(desk.screen, (text) => lines(text) >= 3);
        expect(screen).not.toContain("MEANING");
      } finally {
        desk.kill();
      }
    });
  },
);

describe("states --watch", () => {
  function watch(
    args: readonly string[],
    env: Record<string, string> = {},
  ): ChildProcessWithoutNullStreams {
    return spawn(process.execPath, [STATES, "--watch", "--interval-ms", "20", ...args], {
      env: { ...process.env, ...env },
    });
  }

  async function ended(child: ChildProcessWithoutNullStreams): Promise<[number | null, string]> {
    let stderr = "";
    child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
    const [code] = (await once(child, "close", { signal: AbortSignal.timeout(DEADLINE_MS) })) as [
      number | null,
    ];
    return [code, stderr];
  }

  it("prints one line each time in a pipe, and Ctrl-C ends it with 130", async () => {
    const child = watch(["--source", "proc"]);
    const end = ended(child);
    const lines: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      lines.push(line);
      if (lines.length === 3) child.kill("SIGINT");
    }
    for (const line of lines) expect(line).toMatch(/^\d\d:\d\d:\d\d (none|[A-Z]\w+=\d+.*)$/);
    expect(await end).toEqual([130, ""]);
  });

  it("prints the local time", async () => {
    const child = watch(["--source", "proc"], { TZ: "Etc/GMT-11" });
    const end = ended(child);
    const [data] = (await once(child.stdout, "data")) as [Buffer];
    child.kill("SIGINT");
    await end;
    const [hours = 0, minutes = 0] = data.toString().slice(0, 5).split(":").map(Number);
    const now = new Date();
    const ahead = hours * 60 + minutes - now.getUTCHours() * 60 - now.getUTCMinutes();
    expect([659, 660]).toContain((ahead + 1440) % 1440);
  });

  it("prints one JSON object a line", async () => {
    const child = watch(["--json"]);
    const end = ended(child);
    const lines: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      lines.push(line);
      if (lines.length === 2) child.kill("SIGINT");
    }
    for (const line of lines) {
      const look = JSON.parse(line) as { counts: object; time: string };
      expect(look).toMatchObject({ version: 1 });
      expect(Object.keys(look.counts)).toHaveLength(11);
      expect(new Date(look.time).toISOString()).toBe(look.time);
    }
    expect(await end).toEqual([130, ""]);
  });

  it("ends with 0 and without a word when its reader has seen enough", async () => {
    const child = watch(["--source", "proc"]);
    const end = ended(child);
    await once(child.stdout, "data");
    child.stdout.destroy();
    expect(await end).toEqual([0, ""]);
  });
});

describe("states on a kernel with 23 connections", () => {
  const SANDBOX =
    "--user --map-user=1000 --map-group=1000 --keep-caps --net --pid --fork --mount-proc --kill-child";
  const SCRIPT = `
    ip link set lo up || exit 9
    exec 3< <("$NODE" --input-type=module -e "$(cat "$OPEN_23")" <&0)
    read -r -u 3 ready || exit 8
    echo "$ready"
    "$NODE" "$STATES" --source counters --json || exit 5
    "$NODE" "$STATES" --source counters --watch --interval-ms 20 --json | sed -n "2{p;q}"
    for source in ss netstat lsof proc; do
      "$NODE" "$STATES" --source $source --json --records || exit 7
    done
    "$NODE" "$STATES" --reconcile --json || exit 6
    if type busybox > /dev/null 2>&1
    then busybox netstat -tan | "$NODE" "$STATES" - --json --records
    else echo none
    fi
    ss -tan | awk 'NR > 1 { print $1 }' | sort | uniq -c
  `;
  let counters = "";
  let countersAgain = "";
  let lines: string[] = [];
  let reason: string | undefined;

  beforeAll(async () => {
    const child = spawn("unshare", [...SANDBOX.split(" "), "bash", "-c", SCRIPT], {
      env: {
        ...process.env,
        NODE: process.execPath,
        STATES,
        OPEN_23: join(FIXTURES, "open-23.mjs.txt"),
      },
    });
    const chunks = { stdout: "", stderr: "" };
    child.stdout.on("data", (data: Buffer) => (chunks.stdout += data.toString()));
    child.stderr.on("data", (data: Buffer) => (chunks.stderr += data.toString()));
    const [code] = (await once(child, "close").catch(() => [127])) as [number];
    [, counters = "", countersAgain = "", ...lines] = chunks.stdout.trimEnd().split("\n");
    // Before `ready` it is this machine that cannot; after it, our programs.
    if (code !== 0 && chunks.stdout === "")
      reason = `no network namespace here (exit ${code}): ${chunks.stderr.trim()}`;
    else if (code !== 0) throw new Error(`exit ${code}: ${chunks.stderr.trim()}`);
  }, DEADLINE_MS);

  const lookOf = (index: number): { counts: object; records: SocketRecord[] } =>
    JSON.parse(lines[index] ?? "{}") as { counts: object; records: SocketRecord[] };
  const identities = (index: number): string[] =>
    lookOf(index)
      .records.map((record) => `${identityOf(record)} ${record.state ?? ""}`)
      .sort();

  it("counts what ss itself counts", (context) => {
    if (reason !== undefined) context.skip(reason);
    const counted = { ...emptyCounts() };
    for (const line of lines.slice(6)) {
      const [count, word = ""] = line.trim().split(" ");
      const state = stateNamed(word);
      if (state !== undefined) counted[state] = Number(count);
    }
    expect(counted).toEqual(TWENTY_THREE);
    expect(lookOf(0).counts).toEqual(counted);
  });

  it("counts the same without looking at every socket", (context) => {
    if (reason !== undefined) context.skip(reason);
    expect(JSON.parse(counters)).toMatchObject({ counts: TWENTY_THREE });
    // By then it is known that there are more FIN_WAIT2 than TIME_WAIT.
    const again = JSON.parse(countersAgain) as { from: string };
    expect(again).toMatchObject({ counts: TWENTY_THREE });
    expect(again.from).toContain("exclude established exclude fin-wait-2");
  });

  it("sees the same sockets through ss, netstat and /proc, record by record", (context) => {
    if (reason !== undefined) context.skip(reason);
    expect(identities(1)).toEqual(identities(0));
    expect(identities(3)).toEqual(identities(0));
  });

  it("sees through lsof exactly those that have an owner", (context) => {
    if (reason !== undefined) context.skip(reason);
    const owned = lookOf(0).records.filter(({ owners }) => owners.length > 0);
    expect(owned).toHaveLength(35);
    expect(identities(2)).toEqual(
      owned.map((record) => `${identityOf(record)} ${record.state ?? ""}`).sort(),
    );
  });

  it("sees through busybox the same sockets, though it cuts what does not fit", (context) => {
    if (reason !== undefined) context.skip(reason);
    if (lines[5] === "none") context.skip("busybox is not installed");
    const cut = lookOf(5).records.filter(
      ({ local, remote }) => local.truncated ?? remote.truncated,
    );
    expect(lookOf(5).counts).toEqual(TWENTY_THREE);
    expect(identities(5).filter((it) => identities(0).includes(it)).length + cut.length).toBe(44);
  });

  it("has a reason for every difference between all observers", (context) => {
    if (reason !== undefined) context.skip(reason);
    const { columns, differences, kernel, isReconciled } = JSON.parse(lines[4] ?? "{}") as {
      columns: { observer: string; counts: Record<string, number> }[];
      differences: { observer: string; count: number }[];
      kernel: { name: string; value: number; predicted: number }[];
      isReconciled: boolean;
    };
    expect(isReconciled).toBe(true);
    expect(columns.map(({ observer }) => observer)).toEqual([
      "proc",
      "ss",
      "netstat",
      "lsof",
      "fd",
    ]);
    expect(columns.slice(0, 3).map(({ counts }) => counts)).toEqual([
      TWENTY_THREE,
      TWENTY_THREE,
      TWENTY_THREE,
    ]);
    expect(differences.map(({ observer, count }) => `${observer} ${count}`).sort()).toEqual([
      "fd 2",
      "fd 3",
      "fd 4",
      "lsof 2",
      "lsof 3",
      "lsof 4",
    ]);
    expect(kernel.map(({ name, value }) => [name, value])).toEqual([
      ["sockstat tw", 3],
      ["sockstat inuse", 37],
      ["sockstat6 inuse", 4],
      ["CurrEstab", 23],
    ]);
  });

  it("finds the same owners through ss, lsof and /proc/PID/fd", (context) => {
    if (reason !== undefined) context.skip(reason);
    const owners = (index: number): string[] =>
      lookOf(index)
        .records.flatMap((record) =>
          record.owners.map(
            ({ pid, fd, name }) => `${identityOf(record)} ${pid} ${fd ?? ""} ${name ?? ""}`,
          ),
        )
        .sort();
    expect(owners(0)).toHaveLength(35);
    expect(owners(2)).toEqual(owners(0));
    expect(owners(3)).toEqual(owners(0));
  });
});
