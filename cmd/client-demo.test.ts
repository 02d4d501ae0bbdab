import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { hasTool } from "../lib/kernel/tools.ts";
import { demo } from "../lib/programs/demo.ts";
import type { Handler } from "../lib/protocol/json/handlers.ts";
import { createJsonServer } from "../lib/protocol/json/server.ts";
import { killAll, run, start, startServer, until } from "../lib/testing/programs.ts";

const folder = mkdtempSync(join(tmpdir(), "client-demo-"));
const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
beforeAll(() => {
  if (!hasTool("openssl")) return;
  execFileSync(
    "openssl",
    [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(" "),
      ...["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
      ...["-keyout", key, "-out", cert],
    ],
    { stdio: "ignore" },
  );
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(killAll);

const serve = (flags: string[] = [], port = 0, env: Record<string, string> = {}) =>
  startServer(["--protocol", "json", "--port", `${port}`, ...flags], { env });

/** What the demo's --json says, a step in a line. */
function stepsOf(stdout: string): { title: string; lines: { text: string }[]; held: boolean }[] {
  const lines = stdout.trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as ReturnType<typeof stepsOf>[number]);
}

describe("client --protocol json, the demo", () => {
  it("shows every feature, as documented", async () => {
    const server = await serve();
    const { code, stdout, stderr } = await run("client", [
      "--protocol",
      "json",
      "--port",
      `${server.port}`,
    ]);
    expect(stdout).not.toContain("NOT as documented");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.match(/^ {2}as documented$/gm)).toHaveLength(16);
  });

  it("leaves no connection behind after any step", async () => {
    const server = createJsonServer();
    const { port } = await server.listen({ port: 0 });
    const told = { host: "127.0.0.1", port, tls: false, compression: false };
    // In this process: the end of one of its own would end all connections.
    for await (const { title } of demo(told, new AbortController().signal))
      await until(
        () => ({ title, clients: server.clients() }),
        ({ clients }) => clients === 0,
      );
    expect(server.tally.accepted).toBeGreaterThan(16);
    await server.close({ drainMs: 0 });
  });

  it.skipIf(!hasTool("openssl"))(
    "does so over TLS and with a token, and never shows the token",
    async () => {
      const server = await serve(["--tls-key", key, "--tls-cert", cert], 0, {
        AUTH_TOKEN: "secret-23",
      });
      const flags = [
        "demo",
        "--host",
        "localhost",
        "--port",
        `${server.port}`,
        "--tls-ca",
        cert,
        "--json",
      ];
      const { code, stdout } = await run("client", flags, { env: { AUTH_TOKEN: "secret-23" } });
      expect(stepsOf(stdout).filter(({ held }) => !held)).toEqual([]);
      expect(code).toBe(0);
      expect(stdout).not.toContain("secret-23");
    },
  );

  it("blames no server that wants a token, and says how to show one", async () => {
    const server = await serve([], 0, { AUTH_TOKEN: "secret-23" });
    const { code, stdout, stderr } = await run("client", ["demo", "--port", `${server.port}`]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("UNAUTHENTICATED");
    expect(stderr).toContain("It wants a token: --auth-token-file FILE, or AUTH_TOKEN.");
  });

  it("shows nothing at a plain echo server, and says what it is", async () => {
    const { port } = await startServer();
    const { code, stdout, stderr } = await run("client", ["demo", "--port", `${port}`]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("whoever listens there sends back what it gets (SENT_BACK)");
    expect(stderr).toContain('make server ARGS="--protocol json"');
  });

  it("says with 1 what a server does that is not as documented", async () => {
    const handlers: Record<string, Handler> = {
      ping: () => ({ type: "WRONG" }),
      echo: ({ content }) => ({ type: "echo_response", content }),
      get_stats: () => ({ type: "stats_response", connected_clients: 1 }),
      text: () => ({ type: "text_received", length: 9, timestamp: "now" }),
    };
    const server = createJsonServer({ handlers });
    const { port } = await server.listen({ port: 0 });
    const { code, stdout } = await run("client", ["demo", "--port", `${port}`, "--json"]);
    await server.close({ drainMs: 0 });
    expect(code).toBe(1);
    const found = stepsOf(stdout).flatMap(({ title, lines, held }) => {
      const blame = lines.find(({ text }) => text.startsWith("not as documented: "));
      return held ? [] : [`${title}: ${blame?.text.slice("not as documented: ".length)}`];
    });
    expect(found.slice(0, 6)).toEqual([
      'A frame: ping is answered by pong, not by "WRONG"',
      'Ping and pong: ping is answered by pong, not by "WRONG"',
      "Echo: echo_response without timestamp",
      'Statistics: get_stats is answered by server_stats, not by "stats_response"',
      'Plain text: text_received with timestamp "now"',
      "A type of your own: echo_response without timestamp",
    ]);
  });

  it("finds nothing wrong with a server that takes short messages only", async () => {
    const server = await serve(["--max-frame-bytes", "1024"]);
    const { code, stdout } = await run("client", ["demo", "--port", `${server.port}`, "--json"]);
    expect(stepsOf(stdout).filter(({ held }) => !held)).toEqual([]);
    expect(code).toBe(0);
  });

  it("goes on with the next scene when a server does not answer", async () => {
    const never = () => new Promise<undefined>(() => undefined);
    const server = createJsonServer({ handlers: { broadcast: never } });
    const { port } = await server.listen({ port: 0 });
    const demo = start("client", ["demo", "--port", `${port}`, "--json"]);
    await until(demo.stdout, (text) => text.includes("A time-out"), 20_000);
    demo.child.kill("SIGINT");
    const { stdout, stderr } = await demo.finished;
    await server.close({ drainMs: 0 });
    const steps = stdout.trimEnd().split("\n").slice(0, 4);
    expect(steps.map((line) => (JSON.parse(line) as { held: boolean }).held)).toEqual([
      ...[true, true, true],
      false,
    ]);
    expect(steps[3]).toContain("no broadcast within 5000 ms");
    expect(stderr).toBe("");
  });

  it.skipIf(!hasTool("openssl")).each([
    ["TLS to a server without", [], ["--tls"], "does not speak TLS"],
    ["without TLS to a server that wants it", ["tls"], [], "does it want TLS (--tls)"],
  ])("says what is wrong when it speaks %s", async (_, server, client, hint) => {
    const { port } = await serve(server.length > 0 ? ["--tls-key", key, "--tls-cert", cert] : []);
    const { code, stdout, stderr } = await run("client", ["demo", "--port", `${port}`, ...client]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(hint);
    expect(stderr).not.toContain("openssl");
  });

  it("does not take for the server's words what the client says of them", async () => {
    const other = createServer((socket) =>
      socket.on("error", () => undefined).write("SSH-2.0-OpenSSH_9.6\r\n"),
    );
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as AddressInfo;
    const demo = start("client", ["demo", "--port", `${port}`]);
    const shown = await until(demo.stdout, (text) => text.includes("FRAME_TOO_LARGE"));
    demo.child.kill("SIGKILL");
    other.close();
    expect(shown).toContain("FRAME_TOO_LARGE: expected a frame of at most");
    expect(shown).not.toContain('<- {"type":"error"');
  });

  it("is refused for somebody else's server, and flags that have no meaning are, too", async () => {
    const remote = await run("client", ["demo", "--host", "192.0.2.1"]);
    expect(remote).toMatchObject({ code: 2 });
    expect(remote.stderr).toContain("--allow-remote");
    const visit = await run("client", ["interactive", "--leave", "reset"]);
    expect(visit).toMatchObject({ code: 2 });
    expect(visit.stderr).toContain("--leave has no meaning with interactive");
    const word = await run("client", ["perform"]);
    expect(word.stderr).toContain("expected at most one of demo, interactive");
  });

  it("ends with Ctrl-C in the middle", async () => {
    const server = await serve();
    const demo = start("client", ["demo", "--port", `${server.port}`]);
    await until(demo.stdout, (text) => text.includes("A time-out"));
    demo.child.kill("SIGINT");
    const { code, stdout } = await demo.finished;
    expect(code).toBe(130);
    expect(stdout).not.toContain("A pool");
  });
});
