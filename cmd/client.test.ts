import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { counter, readCounters } from "../lib/kernel/counters.ts";
import { commandLine } from "../lib/kernel/process.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import { listenerView } from "../lib/sockets/listener.ts";
import { ELSEWHERE, REFUSED, SILENT } from "../lib/testing/elsewhere.ts";
import {
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

/** What a client has opened in a network of its own; 0 as long as it is on the way there. */
const openedBy = (pid: number): number =>
  commandLine(pid)[0] === process.execPath ? counter(readCounters(pid), "TcpActiveOpens") : 0;

const remote = ["--host", REFUSED, "--allow-remote", "--json"];

describe("client", () => {
  it("makes CONNECTIONS connections at once, each echoed, and leaves as planned", async () => {
    const server = await startServer();
    const env = { CONNECTIONS: "23", HOST: "localhost", PORT: `${server.port}` };
    const finished = await run("client", ["--json", "--messages", "3"], { env });
    expect(finished.code).toBe(0);
    expect(lastJson(finished)).toMatchObject({
      connections: 23,
      connected: 23,
      echoes: 69,
      left: 23,
      failures: {},
    });
    server.child.kill("SIGTERM");
    expect(lastJson(await server.finished)).toMatchObject({ accepted: 23 });
  });

  it("names the errno when nobody listens, says what next, and exits with 1", async () => {
    const port = await freePort();
    const { code, stdout } = await run("client", ["--port", `${port}`]);
    expect(code).toBe(1);
    expect(stdout).toContain(`ECONNREFUSED 1 (the first: connect ECONNREFUSED 127.0.0.1:${port})`);
    expect(stdout).toContain("nobody listens there. Start a server: make server");
  });

  it("says that the server closed first", async () => {
    const server = await startServer(["--behave", "close-first"]);
    const finished = await run("client", [
      "--port",
      `${server.port}`,
      "--messages",
      "0",
      "--hold-ms",
      "5000",
      "--json",
    ]);
    expect(lastJson(finished)).toMatchObject({ connected: 1, left: 0, peerClosed: 1 });
    expect(finished.code).toBe(1);
  });

  it("gives up after --timeout-ms when the server never answers", async () => {
    const server = await startServer(["--behave", "stall"]);
    const { code, stdout } = await run("client", [
      "--port",
      `${server.port}`,
      "--timeout-ms",
      "100",
    ]);
    expect(code).toBe(1);
    expect(stdout).toContain("ETIMEDOUT 1");
    expect(stdout.replaceAll(/\s+/g, " ")).toContain("our own limit, not the kernel's");
  });

  it("tells time-outs of connect() from those of read()", async () => {
    // One is accepted, 8 wait in the accept queue, the others are not even answered.
    const server = await startServer("--backlog 7 --block-after 1 --block-ms 60000".split(" "));
    const { stdout } = await run(
      "client",
      `--connections 23 --timeout-ms 1000 --port ${server.port}`.split(" "),
    );
    const [, read, connect] =
      /^ETIMEDOUT 23: read (\d+), connect (\d+) \(the first: read: no answer within/m.exec(
        stdout,
      ) ?? [];
    expect(stdout).toContain(`connected ${read} of 23, echoes 0,`);
    expect(Number(connect) + Number(read)).toBe(23);
  });

  it.each([
    ["end", 23],
    ["reset", 0],
  ])("leaves with --leave %s, and %d TIME_WAIT", async (how, timeWaits) => {
    const resets = resetsFromNow();
    const server = await startServer();
    const view = () => listenerView(readProcNet(), new Set([server.port]));
    // Another test's server may have had this port within the last minute.
    const before = view().clients.TIME_WAIT;
    await run("client", ["--port", `${server.port}`, "--connections", "23", "--leave", how]);
    const { clients } = await until(
      view,
      (now) => now.server.CLOSE_WAIT + now.server.LAST_ACK + now.server.ESTABLISHED === 0,
    );
    expect(clients.ESTABLISHED).toBe(0);
    expect(clients.TIME_WAIT).toBeLessThanOrEqual(before + timeWaits);
    expect(clients.TIME_WAIT + resets()).toBeGreaterThanOrEqual(timeWaits);
  });

  it("with --leave half-close waits in FIN_WAIT2, as the owner, for a peer that never closes", async () => {
    const server = await startServer(["--leak"]);
    const client = start("client", [
      "--port",
      `${server.port}`,
      "-c",
      "23",
      "--leave",
      "half-close",
    ]);
    const waiting = await until(
      () =>
        readProcNet().filter(
          ({ state, remote }) => state === "FIN_WAIT2" && remote.port === server.port,
        ),
      (rows) => rows.length === 23,
    );
    expect(waiting.every(({ inode }) => inode !== 0)).toBe(true);
    client.child.kill("SIGINT");
    expect((await client.finished).code).toBe(130);
  });

  it("with --leave abandon keeps the connection when the server has closed: CLOSE_WAIT on our side", async () => {
    const server = await startServer(["--behave", "close-first"]);
    const flags = ["--port", `${server.port}`, "-c", "23", "--messages", "0", "--leave", "abandon"];
    const client = start("client", flags);
    const { clients } = await until(
      () => listenerView(readProcNet(), new Set([server.port])),
      (now) => now.clients.CLOSE_WAIT === 23,
    );
    expect(clients.CLOSE_WAIT).toBe(23);
    client.child.kill("SIGINT");
    expect((await client.finished).code).toBe(130);
  });

  it("refuses a crowd for somebody else's server, and says how to allow it", async () => {
    const { code, stderr } = await run("client", ["--host", "192.0.2.1", "--connections", "2"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--allow-remote");
  });

  it("opens at most 100 connections per second to an address that is not loopback", async () => {
    const startMs = performance.now();
    const finished = await run("client", [...remote, "--connections", "51"], {
      through: ELSEWHERE,
    });
    expect(performance.now() - startMs).toBeGreaterThan(500);
    expect(lastJson(finished)).toMatchObject({
      connections: 51,
      failures: { ECONNREFUSED: { count: 51 } },
    });
  });

  it("opens none after Ctrl-C, and says how many were not", async () => {
    const client = start("client", [...remote, "--connections", "100000"], {
      through: ELSEWHERE,
    });
    await until(
      () => openedBy(client.pid),
      (opened) => opened >= 23,
    );
    client.child.kill("SIGINT");
    const finished = await client.finished;
    expect(finished.code).toBe(130);
    const { interrupted, failures } = lastJson(finished) as {
      interrupted: number;
      failures: { ECONNREFUSED: { count: number } };
    };
    expect(failures.ECONNREFUSED.count).toBeGreaterThanOrEqual(23);
    expect(interrupted + failures.ECONNREFUSED.count).toBe(100_000);
  });

  it("calls a handshake that Ctrl-C has cut short interrupted, not left as planned", async () => {
    const client = start("client", ["--host", SILENT, "--allow-remote", "--json"], {
      through: ELSEWHERE,
    });
    await until(
      () => openedBy(client.pid),
      (opened) => opened === 1,
    );
    client.child.kill("SIGINT");
    expect(lastJson(await client.finished)).toMatchObject({
      connected: 0,
      left: 0,
      interrupted: 1,
    });
  });

  it("does not take an echo for its own that comes twice", async () => {
    const parrot = createServer((socket) =>
      socket.on("data", (chunk) => {
        socket.write(chunk);
        setImmediate(() => socket.write(chunk));
      }),
    );
    await new Promise<void>((resolve) => parrot.listen(0, "127.0.0.1", resolve));
    const { port } = parrot.address() as AddressInfo;
    const flags = ["--port", `${port}`, "--hold-ms", "10000", "--json"];
    const finished = await run("client", flags);
    parrot.close();
    expect(finished.code).toBe(1);
    expect(lastJson(finished)).toMatchObject({ left: 0, failures: { EBADMSG: { count: 1 } } });
  });

  it("refuses a name that does not resolve with exit code 2, also where nobody can be asked", async () => {
    for (const through of [[], ELSEWHERE]) {
      const { code, stderr } = await run("client", ["--host", "no-such-host.invalid"], { through });
      expect(code).toBe(2);
      expect(stderr).toMatch(
        /^client: --host, or HOST in the environment: getaddrinfo (ENOTFOUND|EAI_AGAIN)/,
      );
    }
  });

  it.each([
    ["nothing can be written", 'exec "$@" > /dev/full', "ENOSPC: no space left on device"],
    ["only its beginning can", 'ulimit -f 1; exec "$@" > "$0"', "EFBIG: file too large"],
  ])("ends with 2 when of what it prints %s", async (_, script, why) => {
    const file = join(mkdtempSync(join(tmpdir(), "client-test-")), "stdout");
    const { code, stderr } = await run("client", ["--help"], {
      through: ["sh", "-c", script, file],
    });
    rmSync(dirname(file), { recursive: true });
    expect(code).toBe(2);
    expect(stderr).toBe(`client: stdout: ${why}, write: what was to be printed is lost\n`);
  });
});
