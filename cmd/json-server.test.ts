import { execFileSync } from "node:child_process";
import { connect } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { hasTool } from "../lib/kernel/tools.ts";
import { killAll, lastJson, run, startServer, until } from "../lib/testing/programs.ts";
import { framed, rawPeer } from "../lib/testing/raw-peer.ts";

afterEach(killAll);

const serve = (...flags: string[]) => startServer(["--protocol", "json", ...flags]);
const PEER = join(import.meta.dirname, "../lib/protocol/json/peer.py");

describe("server --protocol json", () => {
  it("listens on 9999 unless told otherwise, on the port of PORT when there is one", async () => {
    const { stderr } = await run("server", ["--protocol", "json", "--host", "256.0.0.1"]);
    expect(stderr).toContain("256.0.0.1");
    const help = await run("server", ["--help"]);
    expect(help.stdout).toContain("8080, json 9999");
  });

  it.skipIf(!hasTool("python3"))("understands a client written in another language", async () => {
    const server = await serve();
    const output = execFileSync("python3", [PEER, "client", `${server.port}`], {
      encoding: "utf8",
    });
    const answers = output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(answers.map(({ type, code }) => code ?? type)).toEqual([
      "pong",
      "echo_response",
      "broadcast_sent",
      "server_stats",
      "UNKNOWN_TYPE",
      "echo_response",
    ]);
    expect(answers[1]).toMatchObject({ content: "Grüße from Python \u{1F40D}" });
    expect((answers[5]!["content"] as string).length).toBe(100_000);
  });

  it("logs every event as a line of JSON, and no token and no content", async () => {
    const server = await serve("--log", "json");
    const peer = await rawPeer(server.port);
    peer.send(framed({ type: "auth", token: "secret-23" }));
    peer.send(framed({ type: "echo", content: "private-23" }));
    peer.send(framed("{"));
    for (let n = 0; n < 3; n += 1) await peer.next();
    const client = `127.0.0.1:${peer.socket.localPort}`;
    peer.destroy();
    const lines = await until(
      () => server.stdout().trim().split("\n"),
      (all) => all.some((line) => line.includes('"disconnect"')),
    );
    const events = lines.slice(1).map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ event, level }) => `${level as string} ${event as string}`)).toEqual([
      "info connect",
      "warn protocol_error",
      "info disconnect",
    ]);
    expect(events[2]).toMatchObject({ messages: 3, client });
    expect(server.stdout() + server.stderr()).not.toMatch(/secret-23|private-23/);
  });

  it("says good-bye to its clients when nobody reads its log any more", async () => {
    const server = await serve("--log", "json");
    const peer = await rawPeer(server.port);
    peer.send(framed({ type: "ping" }));
    await peer.next();
    server.child.stdout?.destroy();
    peer.send(framed("{")); // Belongs into the log.
    const codes = (await peer.rest()).map(({ code }) => code);
    peer.destroy();
    const { code, stderr } = await server.finished;
    expect({ code, codes }).toEqual({ code: 0, codes: ["BAD_JSON", "SHUTTING_DOWN"] });
    expect(stderr).toContain("server: ended with 1 client(s), 0 cut off");
  });

  it("tells its metrics on request, in the text format of Prometheus", async () => {
    const server = await serve("--metrics-port", "0");
    const { metricsPort } = JSON.parse(server.stdout().split("\n")[0] ?? "") as {
      metricsPort: number;
    };
    const peer = await rawPeer(server.port);
    for (let n = 0; n < 23; n += 1) peer.send(framed({ type: "ping" }));
    for (let n = 0; n < 23; n += 1) await peer.next();
    const response = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    peer.destroy();
    expect(text).toContain("\ntcp_json_connections 1\n");
    expect(text).toContain('\ntcp_json_requests_total{type="ping"} 23\n');
    expect(text).toContain("\ntcp_json_message_bytes_count 23\n");
    const shape = /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"\n]*"\})? [0-9.e+-]+)$/;
    expect(
      text
        .trimEnd()
        .split("\n")
        .filter((line) => !shape.test(line)),
    ).toEqual([]);
    expect((await fetch(`http://127.0.0.1:${metricsPort}/else`)).status).toBe(404);
  });

  it("says of the port that is busy which flag takes another", async () => {
    const { port } = await serve();
    const flags = ["--protocol", "json", "--port", "0", "--metrics-port", `${port}`];
    const { code, stderr } = await run("server", flags);
    expect(code).toBe(2);
    expect(stderr).toContain(`sport = :${port}'. Or take another port: --metrics-port N`);
  });

  it("at SIGTERM answers what it has got, says good-bye, and ends with 143; the port is free again", async () => {
    const server = await serve();
    const peer = await rawPeer(server.port);
    peer.send(framed({ type: "ping" }));
    await peer.next();
    server.child.kill("SIGTERM");
    expect(await peer.rest()).toMatchObject([{ code: "SHUTTING_DOWN" }]);
    const finished = await server.finished;
    expect(finished.code).toBe(143);
    expect(lastJson(finished)).toMatchObject({
      event: "summary",
      messages: 1,
      clients: 1,
      cutOff: 0,
    });
    const again = await startServer(["--protocol", "json", "--port", `${server.port}`]);
    expect(again.port).toBe(server.port);
  });

  /** A server that has to wait for a client that does not end. */
  const waiting = async (drainMs: number) => {
    const server = await serve("--drain-ms", `${drainMs}`);
    const stays = await rawPeer(server.port, connect({ port: server.port, allowHalfOpen: true }));
    stays.send(framed({ type: "ping" }));
    await stays.next();
    return server;
  };

  it("takes two signals at the same time, as timeout(1) sends them, for one", async () => {
    const server = await waiting(500);
    // Two of a kind might become one in the kernel. Which of them is taken first is not said.
    for (const signal of ["SIGINT", "SIGTERM"] as const) server.child.kill(signal);
    const finished = await server.finished;
    expect([130, 143]).toContain(finished.code);
    expect(lastJson(finished)).toMatchObject({ event: "summary", clients: 1, cutOff: 1 });
  });

  it("ends on the spot at a second Ctrl-C", async () => {
    const server = await waiting(600_000);
    await until(
      () => server.child.kill("SIGINT"),
      (isThere) => !isThere,
    );
    expect((await server.finished).code).toBe(130);
  });

  it("asks for the token in AUTH_TOKEN, or in a file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tfl-"));
    const file = join(folder, "token");
    writeFileSync(file, "from-a-file\n");
    const byFile = await serve("--auth-token-file", file);
    const byEnv = await startServer(["--protocol", "json"], { env: { AUTH_TOKEN: "from-env" } });
    for (const [server, token] of [
      [byFile, "from-a-file"],
      [byEnv, "from-env"],
    ] as const) {
      const peer = await rawPeer(server.port);
      peer.send(framed({ type: "auth", token }));
      expect(await peer.next()).toMatchObject({ status: "authenticated" });
      peer.destroy();
    }
    const open = await startServer(["--protocol", "json"], { env: { AUTH_TOKEN: "" } });
    const stranger = await rawPeer(open.port);
    stranger.send(framed({ type: "ping" }));
    expect(await stranger.next()).toMatchObject({ type: "pong" });
    stranger.destroy();
    writeFileSync(file, " \n");
    const empty = await run("server", [
      "--protocol",
      "json",
      "--port",
      "0",
      "--auth-token-file",
      file,
    ]);
    expect(empty).toMatchObject({ code: 2 });
    expect(empty.stderr).toContain("TFL_NEEDS");
    rmSync(folder, { recursive: true });
  });

  it("says when there are fewer descriptors than clients may come", async () => {
    const few = await startServer(["--protocol", "json"], {
      through: ["prlimit", "--nofile=128:128"],
    });
    await until(few.stderr, (text) => /descriptors for 1[01]\d connections, fewer than/.test(text));
    const enough = await startServer(["--protocol", "json", "--max-connections", "23"]);
    expect(enough.stderr()).not.toContain("descriptors");
  });

  it.each([
    [
      ["--protocol", "json", "--leak"],
      "--leak, or LEAK in the environment, has no meaning with --protocol json",
    ],
    [["--rate", "5"], "--rate has no meaning with --protocol echo"],
    [["--protocol", "json", "--tls-key", "/dev/null"], "need each other"],
    [["--protocol", "xml"], "expected one of echo, json"],
    [["--protocol", "json", "--auth-token-file", "/nowhere"], "ENOENT"],
    [["--protocol", "json", "--auth-token-file", "/proc"], "read '/proc'"],
    [["--protocol", "json", "--tls-key", "/proc", "--tls-cert", "/proc"], "read '/proc'"],
  ])("refuses %j", async (flags, words) => {
    const { code, stderr } = await run("server", ["--port", "0", ...flags]);
    expect(code).toBe(2);
    expect(stderr).toContain(words);
  });
});

describe.skipIf(!hasTool("openssl"))("server --tls-key", () => {
  let folder = "";
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tfl-"));
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
      "req",
      "-x509",
      ...key,
      "-keyout",
      "ca.key",
      "-out",
      "ca.pem",
      "-subj",
      "/CN=test authority",
      "-days",
      "2",
    );
    for (const name of ["server", "client"]) {
      openssl(
        "req",
        ...key,
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`,
        "-subj",
        `/CN=${name}`,
        "-addext",
        "subjectAltName=IP:127.0.0.1",
      );
      openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-out",
        `${name}.pem`,
        "-days",
        "2",
        "-copy_extensions",
        "copy",
      );
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const read = (name: string) => execFileSync("cat", [file(name)]);
  const serverFlags = (...more: string[]) => [
    "--tls-key",
    file("server.key"),
    "--tls-cert",
    file("server.pem"),
    ...more,
  ];

  it("speaks the protocol over TLS, and closes on who does not speak it", async () => {
    const server = await serve(...serverFlags("--log", "text"));
    const socket = connectTls({ port: server.port, host: "127.0.0.1", ca: read("ca.pem") });
    await once(socket, "secureConnect");
    const peer = await rawPeer(server.port, socket);
    peer.send(framed({ type: "ping" }));
    expect(await peer.next()).toMatchObject({ type: "pong" });
    peer.destroy();
    const plain = connect(server.port, "127.0.0.1")
      .on("error", () => undefined)
      .end(framed({ type: "ping" }));
    await once(plain.resume(), "close");
    await until(server.stderr, (text) => text.includes("tls_error"));
  });

  it("with --tls-ca lets nobody in without a certificate of that authority", async () => {
    const server = await serve(...serverFlags("--tls-ca", file("ca.pem")));
    const ca = read("ca.pem");
    const stranger = connectTls({ port: server.port, host: "127.0.0.1", ca });
    stranger.on("error", () => undefined).write(framed({ type: "ping" }));
    const bytes: Buffer[] = [];
    stranger.on("data", (chunk: Buffer) => bytes.push(chunk));
    await new Promise((resolve) => stranger.on("close", resolve));
    expect(bytes).toEqual([]);
    const friend = connectTls({
      port: server.port,
      host: "127.0.0.1",
      ca,
      key: read("client.key"),
      cert: read("client.pem"),
    });
    await once(friend, "secureConnect");
    const peer = await rawPeer(server.port, friend);
    peer.send(framed({ type: "ping" }));
    expect(await peer.next()).toMatchObject({ type: "pong" });
    peer.destroy();
  });

  it("refuses a key that does not belong to the certificate", async () => {
    const { code, stderr } = await run("server", [
      "--protocol",
      "json",
      "--port",
      "0",
      "--tls-key",
      file("client.key"),
      "--tls-cert",
      file("server.pem"),
    ]);
    expect(code).toBe(2);
    expect(stderr).toContain("TFL_NEEDS");
  });
});
