import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { hasTool } from "../lib/kernel/tools.ts";
import {
  DIST,
  freePort,
  killAll,
  run,
  start,
  startServer,
  until,
} from "../lib/testing/programs.ts";
import { framed, rawPeer } from "../lib/testing/raw-peer.ts";
import { terminal, type Terminal } from "../lib/testing/terminal.ts";

const CLIENT = join(DIST, "cmd/client.js");
const PEER = join(import.meta.dirname, "../lib/protocol/json/peer.py");
const folder = mkdtempSync(join(tmpdir(), "client-interactive-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(killAll);

const serve = (flags: string[] = [], port = 0, env: Record<string, string> = {}) =>
  startServer(["--protocol", "json", "--port", `${port}`, ...flags], { env });

/** What the interactive client says to these lines, from a pipe. */
function said(port: number, lines: readonly string[], flags: readonly string[] = []) {
  const input = lines.map((line) => `${line}\n`).join("");
  return run("client", ["interactive", "--port", `${port}`, ...flags], { input });
}

describe("client interactive, from a pipe", () => {
  it("asks nothing more after Ctrl-C, and does not wait for the answer to what it has asked", async () => {
    let heardBytes = 0;
    const silent = createServer((socket) =>
      socket.on("data", ({ length }) => (heardBytes += length)),
    );
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const input = "/echo 23\n".repeat(23);
    const client = start("client", ["interactive", "--port", `${port}`], { input });
    const request = await until(
      () => heardBytes,
      (bytes) => bytes > 0,
    );
    const startMs = performance.now();
    client.child.kill("SIGINT");
    expect((await client.finished).code).toBe(130);
    expect(performance.now() - startMs).toBeLessThan(4_000); // A request's own limit is 5 s.
    expect(heardBytes).toBe(request);
    silent.close();
  });

  it("answers every command in order, then ends with the input", async () => {
    const server = await serve();
    const { stdout, stderr, code } = await said(server.port, [
      "/ping",
      "/echo Hello TCP Server!",
      "/broadcast Message to all clients",
      "/stats",
      "Regular text",
      "/help",
    ]);
    expect(code).toBe(0);
    expect(stderr).toContain(`connected to 127.0.0.1:${server.port}`);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.slice(0, 5)).toEqual([
      expect.stringMatching(/^pong: you are 127\.0\.0\.1:\d+, the server's time is 2/),
      expect.stringMatching(/^echo by TCP Server: Hello TCP Server!  \([\d.]+ ms\)$/),
      expect.stringMatching(/^sent to 0 other\(s\)/),
      expect.stringMatching(/^clients 1 {2}messages 4 /),
      expect.stringMatching(/^received, 12 character\(s\)/),
    ]);
    expect(lines.slice(5).map((line) => line.trim().split(" ")[0])).toEqual([
      ..."/ping /echo /broadcast /stats /custom /help /exit anything".split(" "),
    ]);
  });

  it("goes on after an error, and says at the end with 1 that there was one", async () => {
    const server = await serve();
    const { stdout, code } = await said(server.port, [
      '/custom custom_type {"data": "value"}',
      "/nope",
      "/echo still here",
    ]);
    expect(code).toBe(1);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toBe('custom_type: unknown type "custom_type" (UNKNOWN_TYPE)');
    expect(lines[1]).toContain("/nope");
    expect(lines[2]).toContain("still here");
  });

  it("takes nothing for an answer that it has sent itself", async () => {
    const { port } = await startServer();
    const { code, stdout } = await said(port, ["/ping", "/stats", "Hello"]);
    expect(code).toBe(1);
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => line.split(": ")[0])).toEqual(["ping", "get_stats", "text"]);
    for (const line of lines) expect(line).toContain("the request came back as it was");
  });

  it("stops at /exit", async () => {
    const server = await serve();
    const { stdout } = await said(server.port, ["/echo one", "/exit", "/echo two"]);
    expect(stdout).toContain("one");
    expect(stdout).not.toContain("two");
  });

  it("prints JSON when asked to", async () => {
    const server = await serve();
    const { stdout } = await said(server.port, ["/echo one", "/custom nope"], ["--json"]);
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    expect(events).toMatchObject([
      { version: 1, event: "answer", answer: { type: "echo_response", content: "one" } },
      { version: 1, event: "failure", error: { code: "UNKNOWN_TYPE" } },
    ]);
  });

  it("says why when nobody listens, when the token is wrong, and when the server is not trusted", async () => {
    const port = await freePort();
    const nobody = await said(port, []);
    expect(nobody.code).toBe(2);
    expect(nobody.stderr).toContain(`connect ECONNREFUSED 127.0.0.1:${port}`);
    expect(nobody.stderr).toContain('Start a server: make server ARGS="--protocol json"');
    const server = await serve([], 0, { AUTH_TOKEN: "right" });
    const token = join(folder, "token");
    writeFileSync(token, "wrong\n");
    const refused = await said(server.port, [], ["--auth-token-file", token]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/AUTHENTICATION_FAILED\).*TFL_NEEDS/);
    writeFileSync(token, " right\n");
    const welcome = await said(server.port, ["/ping"], ["--auth-token-file", token]);
    expect(welcome).toMatchObject({ code: 0, stdout: expect.stringMatching(/^pong/) as unknown });
  });

  it.skipIf(!hasTool("python3"))("gets on with a server written in another language", async () => {
    const peer = spawn("python3", [PEER, "server", "0"], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      let printed = "";
      peer.stdout.on("data", (chunk: Buffer) => (printed += chunk.toString()));
      // A whole line, which need not come in one piece; and the pipe stays open for what else it may print.
      const line = await until(
        () => printed,
        (text) => text.includes("\n"),
      );
      const { listening } = JSON.parse(line) as { listening: number };
      const { stdout } = await said(listening, ["/ping", "/echo hi", "/custom x", "/stats"]);
      expect(stdout.split("\n").slice(0, 4)).toEqual([
        expect.stringMatching(/^pong/),
        expect.stringMatching(/^echo by Python peer: hi/),
        expect.stringMatching(/^x: unknown type: x/),
        expect.stringMatching(/^clients 1 {2}messages 4/),
      ]);
    } finally {
      peer.kill();
    }
  });
});

describe.skipIf(!hasTool("tmux"))("client interactive, at a terminal", () => {
  const open: Terminal[] = [];
  afterEach(() => open.splice(0).forEach((one) => one.kill()));

  function sitDown(port: number, env = ""): Terminal {
    const command = `${env} ${process.execPath} ${CLIENT} interactive --port ${port}`;
    const one = terminal(join(folder, "tmux"), command);
    open.push(one);
    return one;
  }

  it("shows a broadcast above the line that is being typed, and leaves this line alone", async () => {
    const server = await serve();
    const desk = sitDown(server.port);
    await until(desk.screen, (text) => text.endsWith("\n>"));
    // Longer than a row.
    const typed = `/echo ${"one two three four ".repeat(5)}end`;
    desk.type(typed);
    desk.keys("Left", "Left", "Left");
    const row = `> ${typed}`.slice(80);
    await until(desk.screen, (text) => text.endsWith(row));
    const other = await rawPeer(server.port);
    other.send(framed({ type: "broadcast", content: "are you there?" }));
    expect(await other.next()).toMatchObject({ recipients: 1 });
    const name = `127.0.0.1:${other.socket.localPort}`;
    const screen = await until(desk.screen, (text) => text.includes("are you there?"));
    expect(screen.split("\n").slice(1)).toEqual([
      `[${name}] are you there?`,
      `> ${typed}`.slice(0, 80).trimEnd(),
      row,
    ]);
    // Two keys in one piece, as from a paste.
    desk.type("XY");
    desk.keys("Enter");
    const answered = await until(desk.screen, (text) => text.includes("echo by"));
    expect(answered.replaceAll("\n", "")).toContain("four XYend  (");
    expect(answered).toContain(`\n${row.replace("end", "XYend")}\n`);
    other.destroy();
    desk.keys("C-d");
    await until(desk.isOver, Boolean);
  });

  it("has a history and completes commands", async () => {
    const server = await serve();
    const desk = sitDown(server.port, "NO_COLOR=1");
    await until(desk.screen, (text) => text.endsWith("\n>"));
    desk.type("/ec");
    desk.keys("Tab");
    desk.type("first");
    desk.keys("Enter");
    await until(desk.screen, (text) => text.includes("echo by TCP Server: first"));
    desk.keys("Up");
    await until(desk.screen, (text) => text.endsWith("\n> /echo first"));
    desk.keys("C-c");
    await until(desk.screen, (text) => text.endsWith("\n>"));
    desk.type("/exit");
    desk.keys("Enter");
    await until(desk.isOver, Boolean);
  });

  it("goes on where it was after Ctrl-Z and fg", async () => {
    const server = await serve();
    const desk = terminal(join(folder, "tmux"), "sh -i");
    open.push(desk);
    desk.type(`${process.execPath} ${CLIENT} interactive --port ${server.port}`);
    desk.keys("Enter");
    await until(desk.screen, (text) => text.endsWith("\n>"));
    desk.type("/echo ha");
    await until(desk.screen, (text) => text.endsWith("> /echo ha"));
    desk.keys("C-z");
    await until(desk.screen, (text) => /Stopped[^]*\n[#$]$/.test(text));
    desk.type("fg");
    desk.keys("Enter");
    await until(desk.screen, (text) => text.endsWith("\n> /echo ha"));
    desk.type("lf");
    desk.keys("Enter");
    await until(desk.screen, (text) => text.includes("echo by TCP Server: half"));
  });

  it("says that the server has gone, and comes back with it", async () => {
    const server = await serve();
    const desk = sitDown(server.port);
    await until(desk.screen, (text) => text.endsWith("\n>"));
    server.child.kill("SIGKILL");
    await until(desk.screen, (text) => text.includes("connection lost"));
    await serve([], server.port);
    desk.type("/echo again");
    desk.keys("Enter");
    const screen = await until(desk.screen, (text) => text.includes("echo by TCP Server: again"));
    expect(screen).toContain("connected again");
    desk.keys("C-c");
    await until(desk.isOver, Boolean);
  });
});
