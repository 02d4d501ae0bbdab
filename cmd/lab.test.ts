import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { setTimeout as pauseMs } from "node:timers/promises";
import { Ajv2020 } from "ajv/dist/2020.js";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { allPids, commandLine } from "../lib/kernel/process.ts";
import { changedParameters, networkParameters } from "../lib/kernel/residue.ts";
import { findRung, networkNamespace } from "../lib/kernel/sandbox.ts";
import { findShell } from "../lib/kernel/shell.ts";
import { hasTool } from "../lib/kernel/tools.ts";
import type { LabResult } from "../lib/lab/result.ts";
import {
  DIST,
  killAll,
  lastJson,
  run,
  start,
  until,
  type Started,
} from "../lib/testing/programs.ts";

let cannotSandbox: string | undefined;
beforeAll(async () => {
  cannotSandbox = await findRung().then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  );
});
afterEach(killAll);

/** Processes of this checkout that live in another network namespace than we do. */
function sandboxed(): string[] {
  return allPids().flatMap((pid) => {
    try {
      const words = commandLine(pid).join(" ");
      return isElsewhere(pid) && words.includes(DIST) ? [words] : [];
    } catch {
      return [];
    }
  });
}

const isElsewhere = (pid: number): boolean => networkNamespace(pid) !== networkNamespace();

function leave(this: Socket): void {
  this.on("error", () => undefined).destroy();
}

/** Processes that it has started, and those that they have. */
function descendants(pid: number): number[] {
  const rows = execFileSync("ps", ["-eo", "pid=,ppid="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((row) => row.trim().split(/ +/).map(Number));
  const found = [pid];
  for (const one of found)
    found.push(...rows.flatMap(([child = 0, parent]) => (parent === one ? [child] : [])));
  return found.slice(1);
}

function labs(stdout: string): LabResult[] {
  return JSON.parse(stdout) as LabResult[];
}

describe("lab list and explain", () => {
  it("lists the labs in groups, one a line", async () => {
    const { code, stdout } = await run("lab", ["list"]);
    expect(code).toBe(0);
    const names = [...stdout.matchAll(/^ {2}([a-z0-9-]+) /gm)].map(([, name]) => name);
    expect(names).toEqual(
      expect.arrayContaining(["fd-leak", "multiplex", "time-wait-exhaustion", "ulimit"]),
    );
    expect(new Set(names).size).toBe(names.length);
  });

  it("explains a lab without running it, in at most 80 columns", async () => {
    const { code, stdout } = await run("lab", ["explain", "fd-leak"]);
    expect(code).toBe(0);
    for (const heading of ["What you will see", "Why", "How to recognise it", "How to fix it"])
      expect(stdout).toContain(heading);
    expect(stdout).toMatch(/\$ tcp-states --by process\n.*\(in a clone tcp-states is /);
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(stdout).not.toContain("\u001B");
    const env = { FORCE_COLOR: "1", NO_COLOR: "" };
    const painted = await run("lab", ["explain", "fd-leak"], { env });
    expect(painted.stdout).toContain("\u001B[1mfd-leak\u001B[22m");
  });

  it("answers what somebody has seen with the labs that show it", async () => {
    const seen = "connect() to 10.0.0.1:80 failed (99: Cannot assign requested address)";
    const { code, stdout, stderr } = await run("lab", ["explain", seen]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [head = "", list = ""] = stdout.trimEnd().split(/:$/m);
    expect(head.replaceAll("\n", " ")).toBe(`"${seen}" is a symptom in`);
    const rest = list.split("\n");
    expect(rest.map((line) => line.trim().split(" ", 1)[0])).toEqual(
      expect.arrayContaining(["local-address-exhaustion", "time-wait-exhaustion"]),
    );
    expect(rest.at(-1)).toBe("Next: lab explain local-address-exhaustion");
    const page = await run("lab", ["explain", "nf_conntrack: table full"]);
    expect(page.stdout).toContain("\n  docs/explained/conntrack-full.md\n");
    expect((await run("lab", ["explain", "nothing like it"])).code).toBe(2);
  });

  it.each([
    [["run", "no-such-lab"], 'there is no lab "no-such-lab", and no symptom of one; lab list'],
    [["run", "EADDRINUSE"], "but it is a symptom in: inherited-listener, "],
    [["run"], "needs names of labs"],
    [["run", "--all", "ulimit"], "--all runs every lab: it takes no names"],
    [["frobnicate"], "unknown command"],
    [["run", "ulimit", "--soft", "few"], "--soft: expected a whole number"],
    [["run", "port-in-use", "--ports", "23"], "--ports: expected a multiple of 2 from 2 to 2000"],
    [
      ["run", "port-in-use", "time-wait-exhaustion", "--ports", "1001"],
      "--ports: expected a multiple of 2",
    ],
    [["run", "reset-close", "--kib", "1"], "--kib: expected a whole number from 128 to 1024"],
    [["run", "multiplex", "--limit", "63"], "expected a whole number from 64 to 4096"],
    [["run", "fd-leak", "--limit", "30"], "expected a whole number from 64 to 256"],
    [["run", "ulimit", "--format", "tap", "--json"], "--json and --format tap exclude each other"],
    [["run", "ulimit", "--story", "--jobs", "2"], "it takes no --json, --format, --jobs"],
    [["run", "ownerless-close-wait", "--clients", "513"], "expected a whole number from 1 to 512"],
    [["run", "inherited-listener", "--clients", "1"], "expected a whole number from 17 to 128"],
    [["run", "message-boundaries", "--messages", "1"], "expected a whole number from 2 to 500"],
    [["run", "--all", "--kib", "512"], "unknown flag --kib"],
    [["run", "ulimit", "--size", "3"], "unknown flag --size; here there are: --soft, --hard"],
    [["run", "ulimit", "--arm", "left"], "expected one of all, broken"],
  ])("refuses %j with exit code 2", async (flags, reason) => {
    const { code, stdout, stderr } = await run("lab", flags);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(reason);
  });
});

describe("lab run", () => {
  it("predicts and measures 46 ports to the last connection", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const flags = ["run", "time-wait-exhaustion", "--arm", "broken", "--ports", "46", "--json"];
    const { code, stdout } = await run("lab", flags);
    const [result] = labs(stdout);
    expect(result).toMatchObject({
      version: 1,
      lab: "time-wait-exhaustion",
      verdict: "held",
      params: { ports: 46 },
    });
    const [arm] = result!.arms;
    expect(arm).toMatchObject({ kind: "broken", verdict: "held", leftBehind: [] });
    const successes = arm!.claims.find(({ text }) => text.startsWith("connections until"))!;
    expect(successes.predicted).toBe(46);
    expect(successes.measured).toBe(46 + (successes.explained?.value ?? 0));
    expect(arm!.claims).toContainEqual(
      expect.objectContaining({
        text: "the error",
        predicted: "EADDRNOTAVAIL",
        measured: "EADDRNOTAVAIL",
        held: true,
      }),
    );
    expect(code).toBe(0);
  });

  it("shows what an arm sets, on which host, and what a new network has", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const fresh = async (name: string): Promise<string> => {
      const file = `/proc/sys/${name.replaceAll(".", "/")}`;
      return (await run("lab", ["shell", "--alone", "--", "cat", file])).stdout.trim();
    };
    const { stdout } = await run("lab", ["run", "pmtu-black-hole", "--arm", "myth"]);
    const lines = stdout.split("\n").filter((line) => / = |nft/.test(line));
    expect(lines).toEqual([
      `  router: net.ipv4.ip_forward = 1 (was ${await fresh("net.ipv4.ip_forward")})`,
      "  router: mtu of outside = 1400 (was 1500)",
      "  router: nft output: icmp type destination-unreachable icmp code 4 counter drop",
      `  net.ipv4.tcp_retries2 = 1 (was ${await fresh("net.ipv4.tcp_retries2")})`,
    ]);
  });

  it(
    "runs every arm of every lab: all claims hold, and the JSON is of the published shape",
    { timeout: 600_000 },
    async (test) => {
      test.skip(cannotSandbox !== undefined, cannotSandbox);
      const { code, stdout } = await run("lab", ["run", "--all", "--jobs", "2", "--json"]);
      const schema = JSON.parse(
        readFileSync(join(DIST, "../docs/reference/lab-result.schema.json"), "utf8"),
      ) as object;
      const ajv = new Ajv2020();
      expect(ajv.validate(schema, labs(stdout)), ajv.errorsText()).toBe(true);
      const broken = labs(stdout).flatMap(({ lab, arms }) =>
        arms.flatMap(({ about, verdict, reason, claims }) => {
          const failed = claims
            .filter(({ held }) => !held)
            .map(({ text, predicted, measured }) => `${text} ${measured}, not ${predicted}`);
          return verdict === "held" ? [] : `${lab}, ${about}: ${reason ?? failed.join("; ")}`;
        }),
      );
      expect(broken).toEqual([]);
      expect(code).toBe(0);
    },
  );

  it("says with --repeat how often a lab held, and reports progress on stderr", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const flags = ["run", "ulimit", "--arm", "myth", "--repeat", "3", "--jobs", "2"];
    const { code, stdout, stderr } = await run("lab", flags);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ulimit +3 +(\d+) of \1 +held 3 of 3/);
    expect(stdout).toContain("Left behind: nothing");
    expect(stderr).toContain("3 of 3  ulimit held in");
  });

  it("runs a dozen at a time without a word but its progress", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const flags = ["run", "unread-close-reset", "--arm", "control", "--repeat", "12"];
    const { code, stderr } = await run("lab", [...flags, "--jobs", "12"]);
    expect(code, stderr).toBe(0);
    expect(stderr.split("\n").filter((line) => !/^lab: |^\d+ of 12 |^$/.test(line))).toEqual([]);
  });

  it("prints nothing but TAP with --format tap, and nothing but XML with --format junit", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const flags = ["run", "ulimit", "--arm", "myth", "--format"];
    expect((await run("lab", [...flags, "tap"])).stdout).toMatch(
      /^TAP version 14\n1\.\.1\nok 1 - ulimit: myth: .*\n$/,
    );
    expect((await run("lab", [...flags, "junit"])).stdout).toMatch(
      /^<\?xml [^]*<testcase classname="ulimit" [^]*<\/testsuites>\n$/,
    );
  });

  it("prints at most 80 columns, and neither colour nor escape sequences in a pipe", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { stdout } = await run("lab", ["run", "ulimit", "--arm", "myth", "--story"]);
    expect(stdout).not.toContain("\u001B");
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  it("leaves nothing behind at Ctrl-C, and exits with 130", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const lab = start("lab", ["run", "time-wait-exhaustion"]);
    await until(sandboxed, (processes) => processes.length >= 2);
    lab.child.kill("SIGINT");
    const { code, stdout } = await lab.finished;
    expect(code).toBe(130);
    expect(stdout).toMatch(/^time-wait-exhaustion .* interrupted /m);
    expect(stdout).not.toContain("failed");
    await until(sandboxed, (processes) => processes.length === 0);
  });

  it.for(["time-wait-exhaustion", "nat-idle-timeout", "restart-drops-queue"])(
    "leaves nothing of %s behind when it is killed with SIGKILL at random moments",
    async (name, test) => {
      test.skip(cannotSandbox !== undefined, cannotSandbox);
      const before = networkParameters();
      for (let turn = 1; turn <= 3; turn += 1) {
        const ms = Math.round(Math.random() * 2_000);
        const lab = start("lab", ["run", name]);
        await Promise.race([pauseMs(ms), lab.finished]);
        const all = descendants(lab.pid);
        lab.child.kill("SIGKILL");
        await lab.finished;
        const alive = (pid: number): boolean => commandLine(pid).length > 0;
        await until(
          () => [`killed after ${ms} ms`, ...sandboxed(), ...all.filter(alive)],
          (left) => left.length === 1,
        );
      }
      expect(changedParameters(before, networkParameters())).toEqual([]);
    },
  );

  it("stops, and leaves nothing behind, when its reader has gone", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const lab = start("lab", ["run", "time-wait-exhaustion"]);
    await until(lab.stdout, (text) => text.includes("broken"));
    lab.child.stdout?.destroy();
    expect((await lab.finished).stderr).not.toContain("    at ");
    await until(sandboxed, (processes) => processes.length === 0);
  });

  it("skips with --here what would need a parameter changed, and changes none", async () => {
    const before = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8");
    const { code, stdout, stderr } = await run("lab", [
      "run",
      "time-wait-exhaustion",
      "--arm",
      "broken",
      "--here",
      "--json",
    ]);
    const [arm] = labs(stdout)[0]!.arms;
    expect(arm!.verdict).toBe("skipped");
    expect(arm!.reason).toContain("--here changes no parameter");
    expect(code).toBe(2);
    expect(stderr).toContain("every arm was skipped: needs net.ipv4.ip_local_port_range");
    expect(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")).toBe(before);
  });

  it("runs as many arms at a time as --jobs says", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const lab = start("lab", ["run", "half-open-peer", "fin-wait-2", "--jobs", "2"]);
    const arms = (): number =>
      descendants(lab.pid).filter((pid) => {
        const [file, program] = commandLine(pid);
        return file === process.execPath && program?.endsWith("/lib/lab/arm-main.js");
      }).length;
    expect(await until(arms, (count) => count > 1)).toBe(2);
    lab.child.kill("SIGINT");
    expect((await lab.finished).code).toBe(130);
  });

  it("skips under a hard limit too low for labs, and says so, instead of failing in claims", async () => {
    const through = ["prlimit", "--nofile=128:128"];
    const { code, stderr } = await run("lab", ["run", "fd-leak", "--arm", "broken"], { through });
    expect(code).toBe(2);
    expect(stderr).toContain("needs a hard limit of 1024 descriptors; here it is 128 (ulimit -Hn)");
  });

  it("names a process that is left in an arm's network, and fails", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    test.skip(process.getuid?.() !== 0, "only root enters a network from outside");
    const lab = start("lab", ["run", "slowloris", "--arm", "broken", "--json"]);
    const inside = (): number[] =>
      descendants(lab.pid).filter((pid) => commandLine(pid)[1]?.endsWith("arm-main.js"));
    const [arm] = await until(inside, (pids) => pids.some(isElsewhere));
    const intruder = spawn("nsenter", [`--net=/proc/${arm}/ns/net`, "sleep", "60"]);
    const { code, stdout } = await lab.finished;
    intruder.kill("SIGKILL");
    expect(code).toBe(1);
    expect(labs(stdout)[0]!.arms[0]).toMatchObject({
      verdict: "failed",
      leftBehind: [`${intruder.pid} sleep 60`],
    });
  });

  it("explains with --here a counter that other programs have moved", async () => {
    const server = createServer((socket) => socket.resume().on("error", () => undefined));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const others = setInterval(() => connect(port, "127.0.0.1").on("connect", leave), 5);
    const flags = ["run", "ulimit", "--arm", "control", "--here", "--json"];
    const { code, stdout } = await run("lab", flags);
    clearInterval(others);
    server.close();
    expect(labs(stdout)[0]!.arms[0]!.claims.at(-1)).toMatchObject({
      text: "handshakes that the program never saw",
      held: true,
      explained: { counter: "TcpPassiveOpens" },
    });
    expect(code).toBe(0);
  });

  it("claims no proof with --here, where the network is everybody's", async () => {
    const flags = ["run", "ulimit", "--arm", "control", "--here"];
    const { stdout } = await run("lab", flags);
    expect(stdout).toMatch(/^Left behind: with --here /m);
  });
});

describe("the ladder of sandboxes", () => {
  /** Inside a user namespace of its own the limit on further ones can be set without harm. */
  const withoutUserNamespaces = (user: string, ...then: string[]): string[] => [
    ...["unshare", "--user", ...user.split(" "), "sh", "-c"],
    ...['echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh", ...then],
  ];
  const ordinary = withoutUserNamespaces(
    "--map-user=1000 --map-group=1000 --keep-caps",
    ...["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--ambient-caps", "-all"],
  );
  const flags = ["run", "ulimit", "--arm", "myth", "--json"];

  it("takes a user namespace where there is one", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    expect(labs((await run("lab", flags)).stdout)[0]!.environment.sandbox).toBe("user-namespace");
  });

  it("does without user namespaces as root", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { code, stdout } = await run("lab", flags, {
      through: withoutUserNamespaces("--map-root-user"),
    });
    expect(labs(stdout)[0]).toMatchObject({
      verdict: "held",
      environment: { sandbox: "root-namespace" },
    });
    expect(code).toBe(0);
  });

  it("names what is missing, and the ways out, where nothing is possible", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { code, stdout, stderr } = await run("lab", flags, { through: ordinary });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("user.max_user_namespaces = 0");
    for (const way of ["sudo", "docker", "--here"]) expect(stderr).toContain(way);
  });

  it("advises no --here where a command has none", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["shell", "--alone", "--", "true"];
    const { code, stderr } = await run("lab", words, { through: ordinary });
    expect(code).toBe(2);
    expect(stderr).toContain("Ways out: run it as root");
    expect(stderr).not.toContain("--here");
  });

  it("names what forbids it, and does not tell root to become root", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const none = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"';
    const root = ["unshare", "--user", "--map-root-user", "sh", "-c", none, "sh"];
    const { code, stderr } = await run("lab", flags, { through: root });
    expect(code).toBe(2);
    expect(stderr).toContain("The kernel forbids it: user.max_net_namespaces = 0.");
    expect(stderr).toContain("Ways out: in a container, allow it");
  });

  it("names a tool that is not installed, and its package", async () => {
    const { code, stdout, stderr } = await run("lab", flags, { env: { PATH: "/nowhere" } });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toBe("lab: unshare is not installed (package util-linux) [TFL_NEEDS]\n");
  });

  it.each([
    ["lab", "unshare", flags],
    ["multiplex", "setpriv", ["--connections", "23"]],
  ])("names a tool that is only busybox's: %s, %s", async (program, tool, words) => {
    const folder = mkdtempSync(join(tmpdir(), "lab-busybox-"));
    writeFileSync(join(folder, "busybox"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    symlinkSync("busybox", join(folder, tool));
    const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
    const { code, stdout, stderr } = await run(program, words, { env });
    rmSync(folder, { recursive: true });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`${tool} is busybox, which cannot do this: install util-linux`);
  });

  it("shows with --here what needs no parameter, also where nothing else is possible", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { stdout } = await run("lab", [...flags, "--here"], { through: ordinary });
    expect(labs(stdout)[0]).toMatchObject({ verdict: "held", environment: { sandbox: "here" } });
  });
});

describe("a lab", () => {
  it("does not mind what its user has set for programs started by hand", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const env = { LEAK: "true", PORT: "1", HOST: "192.0.2.1", CONNECTIONS: "5" };
    const { stdout } = await run("lab", ["run", "ulimit", "--arm", "control", "--json"], { env });
    expect(labs(stdout)[0]!.verdict).toBe("held");
  });

  it("keeps options for Node, such as an inspector, away from the programs that it measures", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["run", "time-wait-exhaustion", "--arm", "broken", "--json"];
    const { stdout } = await run("lab", words, { env: { NODE_OPTIONS: "--inspect=0" } });
    expect(labs(stdout)[0]!.verdict).toBe("held");
  });
});

/** A shell in the sandbox; the first one makes it, the next one joins. */
async function openShell(): Promise<Started> {
  const shell = start("lab", ["shell", "--", "sh", "-c", "echo here; exec sleep 60"]);
  await until(shell.stdout, (text) => text === "here\n");
  return shell;
}

describe("lab shell", () => {
  /** A developer's own sandbox would be joined, and disturbed. */
  const cannotOpen = (): string | undefined =>
    cannotSandbox ?? (findShell() === undefined ? undefined : "a make shell is open: leave it");

  it("runs a command in a network of its own, with few ports and a lasting TIME_WAIT", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    const script =
      "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/ipv4/tcp_tw_reuse; readlink /proc/self/ns/net";
    const { code, stdout } = await run("lab", ["shell", "--", "sh", "-c", script]);
    const [range, reuse, netns] = stdout.trim().split("\n");
    expect({ code, range, reuse }).toEqual({ code: 0, range: "40000\t40999", reuse: "0" });
    expect(netns).not.toBe(networkNamespace());
  });

  it("hands the command's exit code on, and the signal that ended it as 128 + n", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    expect((await run("lab", ["shell", "--", "sh", "-c", "exit 23"])).code).toBe(23);
    expect((await run("lab", ["shell", "--", "sh", "-c", "kill -USR1 $$"])).code).toBe(138);
  });

  it.skipIf(!hasTool("script"))(
    "is no error of make's at a terminal, however the last command typed in it has ended",
    (test) => {
      test.skip(cannotOpen() !== undefined, cannotOpen());
      // script makes the terminal. The shell is false, and make is told that what is built is not to be built again.
      const typed = ["-qec", "SHELL=$(command -v false) make -o dist/.built shell", "/dev/null"];
      const env = { ...process.env, SHELL: "/bin/sh" };
      const screen = execFileSync("script", typed, {
        cwd: join(DIST, ".."),
        env,
        encoding: "utf8",
      });
      expect(screen).toContain("exit ends it, and all in it.");
      expect(screen).not.toContain("Error");
    },
  );

  it("says which command is not there, and ends with 127", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    const { code, stderr } = await run("lab", ["shell", "--", "no-such-command"]);
    expect(code).toBe(127);
    expect(stderr).toContain("no-such-command");
  });

  it("ends at a Ctrl-C that comes before its command has begun", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["shell", "--alone", "--", "sh", "-c", "sleep 5; exit 23"];
    const shell = start("lab", words, { through: ["setsid"] });
    await until(shell.stderr, (text) => text.includes("exit ends it"));
    process.kill(-shell.pid, "SIGINT");
    expect((await shell.finished).code).toBe(130);
  });

  it("looks where the system looks when there is no PATH", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["shell", "--alone", "--", "echo", "23"];
    expect((await run("lab", words, { through: ["env", "-u", "PATH"] })).stdout).toBe("23\n");
  });

  it("goes on in / for a user who may not enter the folder in which it was started", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const script =
      'folder=$(mktemp -d) && cd "$folder" && chmod 0 . && "$@"; chmod 700 "$folder" && rmdir "$folder"';
    const ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"];
    const { stdout, stderr } = await run("lab", ["shell", "--alone", "--", "pwd"], {
      through: [...ordinary, "sh", "-c", script, "sh"],
    });
    expect(stdout).toBe("/\n");
    expect(stderr).toContain("lab: this user may not enter the folder in which this was started");
  });

  it("says in the prompt of an interactive shell, as far as that is Debian's bash, which terminal is inside", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const interactive = await run("lab", ["shell", "--alone"], { env: { SHELL: "/usr/bin/env" } });
    expect(interactive.stdout).toContain("\ndebian_chroot=tcp-failure-lab\n");
    const command = await run("lab", ["shell", "--alone", "--", "env"]);
    expect(command.stdout).not.toContain("debian_chroot");
  });

  it("has our programs in it, also when there is no node on the PATH", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const folder = mkdtempSync(join(tmpdir(), "lab-shell-"));
    for (const name of ["setpriv", "unshare", "env", "sh", "cat", "true", "ip"]) {
      const path = execFileSync("sh", ["-c", `PATH=$PATH:/usr/sbin:/sbin which ${name}`]);
      symlinkSync(path.toString().trim(), join(folder, name));
    }
    const words = ["shell", "--alone", "--", "server", "--version"];
    const { stdout, stderr } = await run("lab", words, { env: { PATH: folder } });
    rmSync(folder, { recursive: true });
    expect(stdout, stderr).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it("takes an empty SHELL for none", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const { code, stdout } = await run("lab", ["shell", "--alone"], {
      env: { SHELL: "" },
      input: "echo 23\n",
    });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "23\n" });
  });

  it("leaves the command's own flags alone", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["shell", "--alone", "--", "echo", "--alone=never", "--no-path", "--", "--_"];
    expect((await run("lab", words)).stdout).toBe("--alone=never --no-path -- --_\n");
  });

  it("finds the system's tools for a user whose PATH has no sbin", async (test) => {
    test.skip(cannotSandbox !== undefined, cannotSandbox);
    const words = ["shell", "--alone", "--", "sh", "-c", "echo $PATH"];
    const { stdout } = await run("lab", words, { env: { PATH: "/usr/bin:/bin:/sbin" } });
    expect(stdout).toMatch(/\/usr\/bin:\/bin:\/sbin:\/usr\/local\/sbin:\/usr\/sbin\n$/);
  });

  it.for([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)(
    "ends with its command, and those who joined, at %s",
    async ([signal, code], test) => {
      test.skip(cannotOpen() !== undefined, cannotOpen());
      const [first, second] = [await openShell(), await openShell()];
      const inside = descendants(second.pid);
      second.child.kill(signal);
      expect((await second.finished).code).toBe(code);
      await until(
        () => inside.filter((pid) => commandLine(pid).length > 0),
        (left) => left.length === 0,
      );
      first.child.kill(signal);
      expect((await first.finished).code).toBe(code);
      await until(sandboxed, (processes) => processes.length === 0);
    },
  );

  it("tells a shell that has joined when the sandbox has ended, and it is outside again", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    const [first, second] = [await openShell(), await openShell()];
    first.child.kill("SIGTERM");
    expect((await second.finished).stderr).toContain("the sandbox has ended; this is outside");
    const alone = await run("lab", ["shell", "--", "true"]);
    expect(alone.stderr).not.toContain("outside");
  });

  it("says what a shell that joins cannot do, where it has no capabilities", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    const first = await openShell();
    const words = ["shell", "--", "grep", "CapEff", "/proc/self/status"];
    const { stdout, stderr } = await run("lab", words);
    expect(stdout).toMatch(/^CapEff:\t[0-9a-f]+\n$/);
    expect(stderr.includes("Parameters, tcpdump")).toBe(/\t0+\n$/.test(stdout));
    first.child.kill("SIGKILL");
    await until(sandboxed, (processes) => processes.length === 0);
  });

  it("is joined by a second call, so that server and bomb meet; the bomb fills all 1,000 ports", async (test) => {
    test.skip(cannotOpen() !== undefined, cannotOpen());
    const server = start("lab", ["shell", "--", process.execPath, "dist/cmd/server.js"]);
    await until(server.stderr, (text) => text.includes("listening"));
    const bomb = await run("lab", ["shell", "--", process.execPath, "dist/cmd/bomb.js", "--json"]);
    expect(bomb.stderr).toContain("joining");
    const { successes, failures, counters } = lastJson(bomb) as {
      successes: number;
      failures: Record<string, unknown>;
      counters: Record<string, number>;
    };
    expect(Object.keys(failures)).toEqual(["EADDRNOTAVAIL"]);
    expect(successes).toBeGreaterThanOrEqual(1_000);
    expect(successes).toBeLessThanOrEqual(1_000 + (counters["TcpOutRsts"] ?? 0));
    server.child.kill("SIGKILL");
    await server.finished;
    await until(sandboxed, (processes) => processes.length === 0);
  });
});
