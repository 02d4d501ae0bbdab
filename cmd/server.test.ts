import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { freeDescriptors } from "../lib/kernel/process.ts";
import { hasTool } from "../lib/kernel/tools.ts";
import { readProcNet } from "../lib/sockets/capture.ts";
import { listenerView } from "../lib/sockets/listener.ts";
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
import { terminal } from "../lib/testing/terminal.ts";

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  killAll();
});

function view(port: number): ReturnType<typeof listenerView> {
  return listenerView(readProcNet(), new Set([port]));
}

/** Opens connections of our own, so that the test sees what a peer sees. */
function open(port: number, count: number): Promise<Socket[]> {
  const opening = Array.from({ length: count }, () => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    sockets.push(socket);
    socket.on("error", () => undefined);
    return new Promise<Socket>((resolve) => socket.once("connect", () => resolve(socket)));
  });
  return Promise.all(opening);
}

describe("server", () => {
  it("sends back, in order, what arrives in pieces", async () => {
    const server = await startServer();
    const [socket] = await open(server.port, 1);
    let text = "";
    socket!.on("data", (chunk: Buffer) => (text += chunk.toString()));
    for (const piece of ["to ", "be ", "or ", "not"]) socket!.write(piece);
    expect(
      await until(
        () => text,
        (now) => now.length >= 12,
      ),
    ).toBe("to be or not");
  });

  it("reads no more from a peer that does not read, and sends back all of it when it does", async () => {
    const server = await startServer();
    const [socket] = await open(server.port, 1);
    const bytes = 64 * 1024 * 1024;
    socket!.pause().write(Buffer.alloc(bytes));
    const unread = (): number =>
      readProcNet().find(({ local, state }) => local.port === server.port && state !== "LISTEN")
        ?.recvQ ?? 0;
    let [before, unchanged] = [0, 0];
    const timesTheSame = (): number => {
      const now = unread();
      unchanged = now > 0 && now === before ? unchanged + 1 : 0;
      before = now;
      return unchanged;
    };
    await until(timesTheSame, (times) => times === 10);
    expect(socket!.writableLength).toBeGreaterThan(0);
    let received = 0;
    socket!.on("data", (chunk: Buffer) => (received += chunk.length)).resume();
    await until(
      () => received,
      (now) => now === bytes,
    );
  });

  it("leaves 23 peers' closed connections in CLOSE_WAIT with LEAK=true, and ss agrees", async () => {
    const server = await startServer([], { env: { LEAK: "true" } });
    for (const socket of await open(server.port, 23)) socket.end();
    const { server: states, clients } = await until(
      () => view(server.port),
      (now) => now.server.CLOSE_WAIT === 23,
    );
    expect(states.CLOSE_WAIT).toBe(23);
    expect(clients.FIN_WAIT2).toBe(23);
    const filter = `( sport = :${server.port} )`;
    const ss = execFileSync("ss", ["-Htan", "state", "close-wait", filter], { encoding: "utf8" });
    expect(ss.trim().split("\n")).toHaveLength(23);
  });

  it("closes when the peer closes, without LEAK: no CLOSE_WAIT stays", async () => {
    const resets = resetsFromNow();
    const server = await startServer();
    for (const socket of await open(server.port, 23)) socket.end();
    await until(
      () => view(server.port),
      (now) => now.server.ESTABLISHED === 0 && now.clients.TIME_WAIT + resets() >= 23,
    );
    expect(view(server.port).server.CLOSE_WAIT).toBe(0);
  });

  it("with --behave close-first keeps the TIME_WAIT on its own side", async () => {
    const resets = resetsFromNow();
    const server = await startServer(["--behave", "close-first"]);
    // Another test's server may have had this port within the last minute.
    const before = view(server.port).clients.TIME_WAIT;
    for (const socket of await open(server.port, 23)) socket.on("end", () => socket.end()).resume();
    const { clients } = await until(
      () => view(server.port),
      (now) => now.clients.ESTABLISHED === 0 && now.server.TIME_WAIT + resets() >= 23,
    );
    expect(clients.TIME_WAIT).toBeLessThanOrEqual(before);
  });

  it("with --behave reset answers a connection with RST", async () => {
    const server = await startServer(["--behave", "reset"]);
    const socket = connect({ port: server.port, host: "127.0.0.1" });
    sockets.push(socket);
    const error = await new Promise<NodeJS.ErrnoException>((resolve) =>
      socket.on("error", resolve),
    );
    expect(error.code).toBe("ECONNRESET");
  });

  it("with --behave never-read lets the data wait in its receive queue", async () => {
    const server = await startServer(["--behave", "never-read"]);
    const [socket] = await open(server.port, 1);
    socket!.write(Buffer.alloc(23));
    const waiting = await until(
      () =>
        readProcNet().find(
          ({ local, state }) => local.port === server.port && state === "ESTABLISHED",
        )?.recvQ,
      (bytes) => bytes === 23,
    );
    expect(waiting).toBe(23);
  });

  it("with --block-after stops accepting: further connections wait in the accept queue", async () => {
    const server = await startServer([
      "--block-after",
      "1",
      "--block-ms",
      "20000",
      "--backlog",
      "128",
    ]);
    await open(server.port, 1);
    await open(server.port, 23);
    expect(
      (
        await until(
          () => view(server.port),
          (now) => now.queued === 23,
        )
      ).queued,
    ).toBe(23);
    server.child.kill("SIGKILL");
  });

  it("closes idle connections after --idle-timeout-ms, leak or not", async () => {
    const server = await startServer(["--leak", "--idle-timeout-ms", "100"]);
    await open(server.port, 23);
    await until(
      () => view(server.port).server.ESTABLISHED,
      (established) => established === 0,
    );
    server.child.kill("SIGTERM");
    expect(lastJson(await server.finished)).toMatchObject({ accepted: 23, open: 0 });
  });

  it("says how many connections were shed when its descriptors ran out, and that Node did not", async () => {
    const server = await startServer(["--leak", "--status-interval-ms", "50"], {
      through: ["prlimit", "--nofile=64:64"],
    });
    const room = freeDescriptors(server.pid, 64);
    await open(server.port, 64);
    await until(server.stderr, (text) => text.includes("Ways out"));
    server.child.kill("SIGTERM");
    const finished = await server.finished;
    const { accepted, shed, wasExhausted, descriptors } = lastJson(finished) as {
      accepted: number;
      shed: number;
      wasExhausted: boolean;
      descriptors: { open: number; limit: number };
    };
    expect({ wasExhausted, descriptors }).toMatchObject({
      wasExhausted: true,
      descriptors: { open: 64, limit: 64 },
    });
    expect(accepted).toBeGreaterThanOrEqual(room);
    // On a machine with other servers the kernel's counter includes theirs: never fewer than were really shed.
    expect(accepted + shed).toBeGreaterThanOrEqual(64);
    expect(finished.stderr).toContain("Node reports nothing");
    expect(finished.stderr).toContain("EMFILE");
  });

  it("says so, too, when they ran out and came back between two looks", async () => {
    const server = await startServer(["--status-interval-ms", "2000000000"], {
      through: ["prlimit", "--nofile=64:64"],
    });
    await until(server.stderr, (text) => text.includes("accepted 0"));
    const room = (): number => freeDescriptors(server.pid, 64);
    const shed = 64 - room();
    let ended = 0;
    for (const socket of await open(server.port, 64)) socket.resume().on("end", () => (ended += 1));
    await until(
      () => ended,
      (count) => count >= shed,
    );
    sockets.forEach((socket) => socket.destroy());
    await until(room, (left) => left === 64 - shed);
    server.child.kill("SIGTERM");
    const finished = await server.finished;
    expect((lastJson(finished) as { shed: number }).shed).toBeGreaterThanOrEqual(shed);
    expect(finished.stderr.replaceAll(/\s+/g, " ")).toContain("Was out of descriptors for a while");
  });

  it("refuses a time that no timer takes, and would be taken for 1 ms", async () => {
    const { code, stderr } = await run("server", ["--status-interval-ms", "3000000000"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--status-interval-ms: expected a whole number from 10 to 2147483647");
  });

  it("refuses a busy port with exit code 2 and says EADDRINUSE", async () => {
    const server = await startServer();
    const { code, stderr } = await run("server", ["--port", `${server.port}`]);
    expect(code).toBe(2);
    expect(stderr).toContain("EADDRINUSE");
    expect(stderr).toContain("ss -tlnp");
  });

  it.each(["echo", "json"])(
    "says what next when no interface has its address (%s)",
    async (name) => {
      const { code, stderr } = await run("server", ["--protocol", name, "--host", "192.0.2.1"]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/EADDRNOTAVAIL[^]*No interface here has that address: ip address/);
    },
  );

  it("ends with 130 at Ctrl-C, closes its connections and prints its summary", async () => {
    const server = await startServer();
    const [socket] = await open(server.port, 1);
    const closed = new Promise((resolve) => socket!.on("close", resolve));
    socket!.on("end", () => socket!.end()).resume();
    server.child.kill("SIGINT");
    const finished = await server.finished;
    await closed;
    expect(finished.code).toBe(130);
    expect(lastJson(finished)).toMatchObject({ event: "summary", accepted: 1 });
  });

  it.each([
    [["--port", "80x"], '--port: expected a whole number from 0 to 65535, got "80x"'],
    [["--behave", "dance"], "--behave: expected one of echo, leak,"],
    [["--banana"], "banana"],
    [["--leak=banana"], "--leak: expected true or false"],
    [["--no-host"], "--no-host: --host is no switch"],
    [["--port.x", "5"], "Unknown argument: port.x"],
    [["--_", "5"], "Unknown argument: --_"],
    [["--$0", "5"], "Unknown argument: --$0"],
    [["--port"], "port"],
    [["hello"], "takes no words"],
    [["--leak", "--behave", "reset"], "exclude each other"],
    [["--block-ms", "100"], "--block-ms has no meaning with --block-after 0"],
  ])("refuses %j with exit code 2 and says why", async (flags, reason) => {
    const { code, stdout, stderr } = await run("server", flags);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(reason);
  });

  it("says so when the folder in which it was started is gone", async () => {
    const script = 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"';
    const { code, stderr } = await run("server", [], { through: ["sh", "-c", script, "sh"] });
    expect(code).toBe(2);
    expect(stderr).toBe(
      "server: the folder in which this was started is no longer there; cd to another one [ENOENT]\n",
    );
  });

  it("refuses a bad PORT from the environment by name", async () => {
    const { code, stderr } = await run("server", [], { env: { PORT: "http" } });
    expect(code).toBe(2);
    expect(stderr).toContain("PORT: expected a whole number");
  });

  it.each([
    [
      { HOST: "x86_64-linux-gnu.invalid" },
      "server: --host, or HOST in the environment: getaddrinfo",
    ],
    [{ LEAK: "true" }, "--leak, or LEAK in the environment, and --behave reset exclude each other"],
  ])("names the variable that it cannot obey: %j", async (env, complaint) => {
    const { code, stderr } = await run("server", ["--behave", "reset", "--port", "0"], { env });
    expect(code).toBe(2);
    expect(stderr).toContain(complaint);
  });

  it.skipIf(!hasTool("strace"))(
    "goes on when the machine's table of files is full, which is no limit of its own (needs strace)",
    async () => {
      // From the second look at /dev/null on: the first is that of a server without clients.
      const through =
        "strace -qq -f -o /dev/null -P /dev/null -e trace=openat,open -e inject=openat:error=ENFILE:when=2+ setpriv --pdeathsig TERM --";
      const server = await startServer(["--status-interval-ms", "50"], {
        through: through.split(" "),
      });
      for (const clients of [1, 2, 3]) {
        await open(server.port, 1);
        await until(server.stderr, (text) => text.includes(`  open ${clients}  `));
      }
      expect(server.stderr()).not.toContain("ENFILE");
      const { pid } = JSON.parse(server.stdout().split("\n")[0] ?? "") as { pid: number };
      process.kill(pid, "SIGINT");
      expect((await server.finished).code).toBe(130);
    },
  );

  it("goes on when nobody reads its status line any more", async () => {
    const server = await startServer(["--status-interval-ms", "10"]);
    server.child.stderr?.destroy();
    const [socket] = await open(server.port, 1);
    const echoed = new Promise((resolve) =>
      socket!.once("data", (chunk: Buffer) => resolve(chunk.toString())),
    );
    socket!.write("still there?");
    expect(await echoed).toBe("still there?");
  });

  it("ends with 130 at Ctrl-C, too, when nobody is there to read its summary", async () => {
    const server = await startServer();
    server.child.stdout?.destroy();
    server.child.kill("SIGINT");
    expect((await server.finished).code).toBe(130);
  });

  it("can be started a second time on the port that it has just left", async () => {
    const first = await startServer(["--behave", "close-first"]);
    for (const socket of await open(first.port, 3)) socket.on("end", () => socket.end()).resume();
    await until(
      () => view(first.port).server.TIME_WAIT,
      (timeWaits) => timeWaits === 3,
    );
    first.child.kill("SIGTERM");
    await first.finished;
    const second = start("server", ["--port", `${first.port}`]);
    await until(second.stderr, (text) => text.includes("listening"));
  });
});

describe.skipIf(!hasTool("tmux"))("server, at a terminal", () => {
  it("leaves the line to whoever types while it runs in the background, and shows its status in front", async () => {
    const folder = mkdtempSync(join(tmpdir(), "server-test-"));
    const desk = terminal(join(folder, "tmux"), "sh -i");
    const port = await freePort();
    const enter = (line: string): void => {
      desk.type(line);
      desk.keys("Enter");
    };
    try {
      const server = `${process.execPath} ${DIST}/cmd/server.js --status-interval-ms 10 --port ${port}`;
      enter(`${server} &`);
      await until(desk.screen, (text) => text.includes("server: listening"));
      enter(`${process.execPath} ${DIST}/cmd/client.js --port ${port} --connections 23`);
      const typed = await until(desk.screen, (text) => text.includes("connected 23 of 23"));
      expect(typed).not.toContain("accepted");
      enter("fg");
      await until(desk.screen, (text) => text.includes("accepted 23  open 0"));
    } finally {
      desk.kill();
      rmSync(folder, { recursive: true });
    }
  });
});
