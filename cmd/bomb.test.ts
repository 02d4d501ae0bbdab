import { spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { ephemeralPorts } from "../lib/kernel/ports.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import { listenerView } from "../lib/sockets/listener.ts";
import { ELSEWHERE, REFUSED } from "../lib/testing/elsewhere.ts";
import {
  DIST,
  freePort,
  killAll,
  lastJson,
  run,
  start,
  startServer,
  until,
} from "../lib/testing/programs.ts";
import { resetsFromNow } from "../lib/testing/resets.ts";

afterEach(killAll);

type WalkResult = {
  readonly attempts: number;
  readonly successes: number;
  readonly failures: Readonly<Record<string, { readonly count: number; readonly first: string }>>;
};

/** Local ports of clients in TIME_WAIT, from now on: another test's server may have had this port within the last minute. */
function timeWaitsFromNow(server: number): () => number[] {
  const all = (): number[] =>
    readProcNet()
      .filter(({ state, remote }) => state === "TIME_WAIT" && remote.port === server)
      .map(({ local }) => Number(local.port));
  const before = new Set(all());
  return () => all().filter((port) => !before.has(port));
}

/** What a script prints in a network of its own: 100 ports, each in TIME_WAIT for a minute, a server on port 2323, and `bomb`. */
function besideServer(commands: string): string {
  const script = `
    set -e
    bomb() { "$node" "$dist/cmd/bomb.js" "$@"; }
    states() { "$node" "$dist/cmd/states.js" --json "$@"; }
    ip link set lo up
    echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range
    echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse
    "$node" "$dist/cmd/server.js" --port 2323 --json > /dev/null &
    trap 'kill $!' EXIT TERM
    until states --local 2323 | grep -q '"LISTEN":1'; do :; done
    ${commands}`;
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    [..."--user --map-root-user --net sh -c".split(" "), script],
    {
      ...{ encoding: "utf8", timeout: 25_000 },
      env: { ...process.env, node: process.execPath, dist: DIST },
    },
  );
  expect(status, stderr).toBe(0);
  return stdout;
}

describe("bomb", () => {
  it("opens and closes 23 connections, keeps 23 TIME_WAIT, less those that a RST has ended, and agrees with the kernel's counter", async () => {
    const resets = resetsFromNow();
    const server = await startServer();
    const timeWaits = timeWaitsFromNow(server.port);
    const finished = await run("bomb", ["--port", `${server.port}`, "--count", "23", "--json"]);
    const result = lastJson(finished) as { counters: Record<string, number> };
    expect(finished.code).toBe(0);
    expect(result).toMatchObject({
      attempts: 23,
      successes: 23,
      failures: {},
      closedFirst: { us: 23, server: 0 },
    });
    expect(result.counters["TcpActiveOpens"]).toBeGreaterThanOrEqual(23);
    const kept = await until(timeWaits, ({ length }) => length + resets() >= 23);
    expect(kept.length).toBeLessThanOrEqual(23);
  });

  it("leaves no TIME_WAIT with --leave reset", async () => {
    const server = await startServer();
    const timeWaits = timeWaitsFromNow(server.port);
    await run("bomb", ["--port", `${server.port}`, "--count", "23", "--leave", "reset"]);
    await until(
      () => listenerView(readProcNet(), new Set([server.port])),
      (now) => now.server.ESTABLISHED === 0,
    );
    expect(timeWaits()).toEqual([]);
  });

  it("leaves the TIME_WAIT to the server with --leave wait", async () => {
    const server = await startServer(["--behave", "close-first"]);
    const timeWaits = timeWaitsFromNow(server.port);
    const finished = await run("bomb", [
      "--port",
      `${server.port}`,
      "--count",
      "23",
      "--leave",
      "wait",
      "--json",
    ]);
    expect(lastJson(finished)).toMatchObject({ successes: 23, closedFirst: { us: 0, server: 23 } });
    expect(timeWaits()).toEqual([]);
  });

  it("walks explicit local ports in order, from the start of the range, and passes over those of others", async () => {
    const resets = resetsFromNow();
    const server = await startServer();
    const timeWaits = timeWaitsFromNow(server.port);
    const { ports } = ephemeralPorts();
    const taken = createServer().on("error", () => undefined); // Or another program has it already.
    await new Promise((done) => taken.on("listening", done).on("error", done).listen(ports[7]));
    const flags = ["--port", `${server.port}`, "--count", "23", "--walk-ports"];
    const finished = await run("bomb", [...flags, "--json"]);
    taken.close();
    const { attempts, successes, failures } = lastJson(finished) as WalkResult;
    expect(attempts).toBe(23);
    expect(failures["EADDRINUSE"]?.first).toMatch(/^bind EADDRINUSE/);
    expect(successes + (failures["EADDRINUSE"]?.count ?? 0)).toBe(23);
    const walked = await until(timeWaits, ({ length }) => length + resets() >= successes);
    expect(ports.slice(0, 23)).toEqual(expect.arrayContaining(walked));
    expect(walked).not.toContain(ports[7]);
  });

  it("says that ports were passed over, and why", async () => {
    const server = await startServer();
    const taken = createServer().on("error", () => undefined);
    const [first] = ephemeralPorts().ports;
    await new Promise((done) => taken.on("listening", done).on("error", done).listen(first));
    const flags = ["--port", `${server.port}`, "--count", "23", "--walk-ports"];
    const { stdout, code } = await run("bomb", flags);
    taken.close();
    expect(code).toBe(0);
    expect(stdout).toContain(`bind EADDRINUSE 0.0.0.0:${first}`);
    expect(stdout.replaceAll(/\s+/g, " ")).toMatch(/explained \d+ ports? w(as|ere) passed over/);
  });

  it("predicts no failure where the kernel throws TIME_WAITs away, and counts those", () => {
    const stdout = besideServer(`
      echo 23 > /proc/sys/net/ipv4/tcp_max_tw_buckets
      bomb --port 2323 --count 230 --json`);
    const result = JSON.parse(stdout) as { counters: Record<string, number> };
    expect(result).toMatchObject({
      ...{ predicted: { kind: "capped", maxTimeWaits: 23 }, successes: 230, failures: {} },
    });
    // A RST here and there ends a TIME_WAIT that was kept, and makes room for another.
    expect(result.counters["TcpExtTCPTimeWaitOverflow"]).toBeGreaterThan(115);
  });

  it.each(["reset", "wait"])(
    "predicts for --leave %s that nothing is free where an earlier bomb has left no port",
    (leave) => {
      // A RST gives one of the hundred ports back now and then, also after the last connection: then another bomb fills it.
      const stdout = besideServer(`
        until states --remote 2323 | grep -q '"TIME_WAIT":100,'; do bomb --port 2323 > /dev/null || [ $? = 1 ]; done
        bomb --port 2323 --count 23 --leave ${leave} --json || [ $? = 1 ]`);
      expect(JSON.parse(stdout)).toMatchObject({
        ...{ predicted: { kind: "never", capacity: 0, waiting: 100 }, successes: 0 },
        failures: { EADDRNOTAVAIL: { count: 1 } },
      });
    },
  );

  it("counts a port that an earlier bomb has left in TIME_WAIT as used", () => {
    const stdout = besideServer(`
      bomb --port 2323 --count 60 > /dev/null
      bomb --port 2323 --count 23 --json`);
    const { connectByFill } = JSON.parse(stdout) as { connectByFill: (object | null)[] };
    const steps = connectByFill.flatMap((step, index) => (step === null ? [] : [index]));
    expect(steps[0]).toBeGreaterThanOrEqual(5);
    expect(steps[0]).toBeLessThanOrEqual(6);
  });

  it("says that it cannot exhaust this machine where tcp_tw_reuse gives ports back, and what can", async () => {
    const port = await freePort();
    const { stderr } = await run("bomb", ["--port", `${port}`]);
    expect(stderr).toMatch(
      /EADDRNOTAVAIL after [\d,]+ connections|make lab\s+NAME=time-wait-exhaustion/,
    );
  });

  it("stops at the first error, names it, and exits with 1 when nothing succeeded", async () => {
    const port = await freePort();
    const { code, stdout } = await run("bomb", ["--port", `${port}`, "--count", "23"]);
    expect(code).toBe(1);
    expect(stdout).toContain("0 of 1 succeeded");
    expect(stdout).toContain(`ECONNREFUSED 1 (the first: connect ECONNREFUSED 127.0.0.1:${port})`);
  });

  it("goes on after errors with --keep-going", async () => {
    const port = await freePort();
    const finished = await run("bomb", [
      "--port",
      `${port}`,
      "--count",
      "23",
      "--keep-going",
      "--json",
    ]);
    expect(lastJson(finished)).toMatchObject({
      attempts: 23,
      failures: { ECONNREFUSED: { count: 23 } },
    });
  });

  it("keeps to --rate", async () => {
    const server = await startServer();
    const flags = ["--port", `${server.port}`, "--rate", "230", "--duration-ms", "500", "--json"];
    const { attempts, durationMs } = lastJson(await run("bomb", flags)) as Record<string, number>;
    expect(attempts).toBeLessThanOrEqual(1 + (230 * durationMs!) / 1_000);
    expect(attempts).toBeGreaterThan(23);
  });

  it("sums up at Ctrl-C and exits with 130", async () => {
    const server = await startServer();
    const bomb = start("bomb", [
      "--port",
      `${server.port}`,
      "--rate",
      "100",
      "--duration-ms",
      "60000",
      "--json",
    ]);
    await until(
      () => listenerView(readProcNet(), new Set([server.port])).clients.TIME_WAIT,
      (timeWaits) => timeWaits > 3,
    );
    bomb.child.kill("SIGINT");
    const finished = await bomb.finished;
    expect(finished.code).toBe(130);
    expect(lastJson(finished)["successes"]).toBeGreaterThan(3);
  });

  it("says who has closed, and why, when a server was expected to and has not", async () => {
    const server = await startServer();
    const flags = ["--port", `${server.port}`, "--leave", "wait", "--duration-ms", "300"];
    const { stdout } = await run("bomb", flags);
    expect(stdout).toContain("first by us 1, by the server 0");
    expect(stdout.replaceAll(/\s+/g, " ")).toContain(
      "explained 1 of these the server had not closed when time was up, so we did",
    );
  });

  it("ends at Ctrl-C also while it waits for a server that never closes", async () => {
    const server = await startServer();
    const bomb = start("bomb", [
      "--port",
      `${server.port}`,
      "--leave",
      "wait",
      "--duration-ms",
      "60000",
    ]);
    await until(
      () => listenerView(readProcNet(), new Set([server.port])).clients.ESTABLISHED,
      (established) => established === 1,
    );
    bomb.child.kill("SIGINT");
    expect((await bomb.finished).code).toBe(130);
  });

  it.each([
    [["--count", "abc"], '--count: expected a whole number of at least 1, got "abc"'],
    [["--count", "-1"], "--count: expected a whole number"],
    [["--rate", "1e3"], "--rate: expected a whole number"],
    [["--leave", "politely"], "--leave: expected one of end, reset, wait"],
    [["--host", "192.0.2.1"], "not a loopback address"],
    [["--port", "65535", "--destinations", "2"], "would go beyond port 65535"],
    [
      ["--duration-ms", "2147483648"],
      "--duration-ms: expected a whole number from 1 to 2147483647",
    ],
  ])("refuses %j with exit code 2", async (flags, reason) => {
    const { code, stdout, stderr } = await run("bomb", flags);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(reason);
  });

  it("takes a variable that was set by hand for no sandbox", async () => {
    const env = { TCP_FAILURE_LAB_NETNS: "net:[1]" };
    const { code, stderr } = await run("bomb", ["--host", "192.0.2.1"], { env });
    expect(code).toBe(2);
    expect(stderr).toContain("not a loopback address");
  });

  it("makes at most 100 attempts per second at an address that is not loopback, whatever --rate says", async () => {
    const target = ["--host", REFUSED, "--port", "80", "--allow-remote"];
    for (const rate of ["0", "5000"]) {
      const flags = [...target, "--keep-going", "--count", "51", "--rate", rate, "--json"];
      const { failures, durationMs } = lastJson(await run("bomb", flags, { through: ELSEWHERE }));
      expect(failures).toMatchObject({ ECONNREFUSED: { count: 51 } });
      expect(durationMs).toBeGreaterThan(490);
    }
  });
});
