import { readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { ELSEWHERE, REFUSED } from "../lib/testing/elsewhere.ts";
import {
  freePort,
  killAll,
  lastJson,
  run,
  start,
  startServer,
  suspend,
  until,
} from "../lib/testing/programs.ts";
import { allPids, commandLine, openDescriptors, socketInodes } from "../lib/kernel/process.ts";
import { procTexts, readProcNet } from "../lib/sockets/capture.ts";
import { procListenerView } from "../lib/sockets/listener.ts";

afterEach(killAll);

type Side = {
  before: { threads: number; descriptors: number };
  open: { threads: number; descriptors: number };
};
type Result = {
  opened: { open: number };
  exchanged: { sent: number; answered: number };
  client: Side;
  server?: Side;
};

/** The processes that hold connections of any multiplex. */
function crowds(): number[] {
  return allPids().filter((pid) => commandLine(pid).some((word) => word.endsWith("crowd-main.js")));
}

/** What a multiplex has started of one program: `server.js`, `crowd-main.js`. */
function partsOf(multiplex: number, program: string): number[] {
  const children = readFileSync(`/proc/${multiplex}/task/${multiplex}/children`, "latin1");
  const pids = children.split(" ").filter(Boolean).map(Number);
  return pids.filter((pid) => commandLine(pid).some((word) => word.endsWith(program)));
}

describe("multiplex", () => {
  it("opens 500 connections by default, all answered, threads unchanged on both sides", async () => {
    const finished = await run("multiplex", ["--json"]);
    const result = lastJson(finished) as unknown as Result;
    expect(finished.code).toBe(0);
    expect(result).toMatchObject({ opened: { open: 500 }, exchanged: { answered: 5_000 } });
    for (const side of [result.client, result.server!]) {
      expect(side.open.threads).toBe(side.before.threads);
      expect(side.open.descriptors - side.before.descriptors).toBe(500);
    }
  });

  it("takes a descriptor limit that is too low for its own files for no defect of its own", async () => {
    for (let limit = 27; limit <= 36; limit += 1) {
      const through = ["prlimit", `--nofile=${limit}:${limit}`];
      const { code, stderr } = await run("multiplex", ["-c", "3"], { through });
      expect(stderr).not.toContain("defect");
      // With the least of these it is Node itself that ends, with 1.
      expect([1, 2]).toContain(code);
      expect(stderr).toMatch(/EMFILE|descriptor/);
    }
  });

  it("uses a server that is there, and finds its process", async () => {
    const server = await startServer();
    const result = lastJson(
      await run("multiplex", ["-c", "23", "--port", `${server.port}`, "--json"]),
    ) as unknown as Result;
    expect(result.server!.open.descriptors - result.server!.before.descriptors).toBe(23);
  });

  it("takes nothing but an echo for an answer, however long it is", async () => {
    const other = createServer((socket) =>
      socket.on("error", () => undefined).on("data", () => socket.write("y".repeat(64))),
    );
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as AddressInfo;
    const { code, stdout } = await run("multiplex", ["-c", "23", "--port", `${port}`]);
    other.close();
    expect(stdout).toContain("messages    0 of 23 answered");
    expect(stdout).toContain(
      "EBADMSG 23 (the first: what came back is not the answer to what was sent)",
    );
    expect(code).toBe(1);
  });

  it("says what next where nobody listens, and where that is", async () => {
    const port = await freePort();
    const words = ["-c", "23", "--host", "[::1]", "--port", `${port}`];
    const { code, stdout, stderr } = await run("multiplex", words);
    expect(code).toBe(1);
    expect(stderr).toContain(`multiplex: 23 connections to [::1]:${port}. Ctrl-C to stop.`);
    expect(stdout).toMatch(/^ECONNREFUSED 23 \(/m);
    expect(stdout.replaceAll(/\s+/g, " ")).toContain(
      "nobody listens there. Start a server: make server",
    );
  });

  it("does the same work in turns with one connection at a time", async () => {
    const result = lastJson(
      await run("multiplex", ["-c", "23", "--turns", "--json"]),
    ) as unknown as Result;
    expect(result.exchanged.answered).toBe(230);
    expect(result.server!.open.descriptors - result.server!.before.descriptors).toBeLessThanOrEqual(
      1,
    );
  });

  it("shares among processes, each with its server, what one may not have descriptors for", async () => {
    const finished = await run("multiplex", ["-c", "500", "--messages", "3", "--json"], {
      through: ["prlimit", "--nofile=256:256"],
    });
    const result = lastJson(finished) as unknown as Result;
    expect(finished.code).toBe(0);
    expect(result).toMatchObject({
      opened: { open: 500, failures: {} },
      exchanged: { answered: 1_500 },
      client: { processes: 3 },
      server: { processes: 3 },
      states: { clients: { ESTABLISHED: 500 }, server: { ESTABLISHED: 500 } },
    });
    for (const side of [result.client, result.server!])
      expect(side.open.descriptors - side.before.descriptors).toBe(500);
  });

  it("leaves no process behind when it is interrupted with its connections in several of them", async () => {
    const flags = ["-c", "23", "--processes", "2", "--messages", "100000000"];
    const multiplex = start("multiplex", flags);
    const before = crowds();
    const ours = await until(
      () => crowds().filter((pid) => !before.includes(pid)),
      (pids) => pids.length === 2,
    );
    multiplex.child.kill("SIGINT");
    expect((await multiplex.finished).code).toBe(130);
    await until(crowds, (pids) => !ours.some((pid) => pids.includes(pid)));
  });

  it.each([
    ["that it alone gets", 1],
    ["that its servers get, too, as at a terminal", -1],
  ])("ends at once, with a summary, at a Ctrl-C %s, before they are ready", async (_, group) => {
    const flags = ["-c", "23", "--processes", "2", "--messages", "100000000", "--json"];
    const multiplex = start("multiplex", flags, { through: ["setsid"] });
    await until(
      () => partsOf(multiplex.pid, "server.js"),
      (pids) => pids.length > 0,
    );
    process.kill(group * multiplex.pid, "SIGINT");
    const finished = await multiplex.finished;
    expect(finished).toMatchObject({ code: 130, stderr: "" });
    expect(lastJson(finished)).toMatchObject({
      opened: { open: 0, failures: {} },
      exchanged: { sent: 0, answered: 0 },
    });
  });

  it("says which of its processes was killed, with how many connections, and compares nothing with what is left", async () => {
    const before = crowds();
    const multiplex = start("multiplex", ["-c", "46", "--processes", "2", "--messages", "5000"]);
    const [victim = 0] = await until(
      () => crowds().filter((pid) => !before.includes(pid)),
      (pids) => pids.length === 2,
    );
    await until(
      () => openDescriptors(victim),
      (descriptors) => descriptors > 40,
    );
    process.kill(victim, "SIGKILL");
    const { code, stdout } = await multiplex.finished;
    expect(code).toBe(1);
    expect(stdout).toContain(
      `SIGKILL 23 (the first: process ${victim} of ours has ended, and with it 23`,
    );
    expect(stdout).not.toMatch(/^client /m);
    expect(stdout).toMatch(/^server +2 /m);
  });

  it("counts what was sent and answered until Ctrl-C, in several processes, and not what was planned", async () => {
    const flags = ["-c", "23", "--processes", "2", "--messages", "100000000", "--json"];
    const multiplex = start("multiplex", flags);
    const held = (): number => {
      const crowd = partsOf(multiplex.pid, "crowd-main.js");
      const inodes = new Set<number | undefined>(crowd.flatMap((pid) => [...socketInodes(pid)]));
      return readProcNet().filter(({ inode }) => inodes.has(inode)).length;
    };
    await until(held, (open) => open === 23);
    multiplex.child.kill("SIGINT");
    const { exchanged } = lastJson(await multiplex.finished) as unknown as Result;
    expect(exchanged.sent).toBeLessThan(100_000_000);
    expect(exchanged.sent - exchanged.answered).toBeLessThanOrEqual(23);
  });

  it("refuses flags that would have no effect, and a server of its own that could not be", async () => {
    for (const [flags, complaint] of [
      [["--processes", "2", "--turns"], "no meaning with --turns"],
      [["--processes", "2", "--port", "1"], "no meaning with --port"],
      [["--host", "192.0.2.1", "--allow-remote"], "needs --port"],
    ] as const) {
      const { code, stdout, stderr } = await run("multiplex", flags);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toContain(complaint);
    }
  });

  it("opens at most 100 connections per second to an address that is not loopback", async () => {
    const flags = ["--host", REFUSED, "--port", "80", "-c", "51", "--allow-remote", "--json"];
    const { opened } = lastJson(await run("multiplex", flags, { through: ELSEWHERE })) as {
      opened: { durationMs: number; failures: unknown };
    };
    expect(opened.failures).toMatchObject({ ECONNREFUSED: { count: 51 } });
    expect(opened.durationMs).toBeGreaterThan(490);
  });

  it("has a server of its own on the address that it is given", async () => {
    const finished = await run("multiplex", ["-c", "23", "--host", "127.0.0.23", "--json"]);
    expect(lastJson(finished)).toMatchObject({ exchanged: { sent: 230, answered: 230 } });
  });

  it("looks at the server at its address, not at another's on the same port", async () => {
    const server = await startServer(["--host", "127.0.0.2"]);
    await startServer(["--host", "127.0.0.1", "--port", `${server.port}`]);
    for (const host of ["127.0.0.1", "127.0.0.2"]) {
      const flags = ["-c", "23", "--host", host, "--port", `${server.port}`, "--json"];
      const { server: side } = lastJson(await run("multiplex", flags)) as Result;
      expect(side!.open.descriptors - side!.before.descriptors, host).toBe(23);
    }
  });

  it("suggests only what is possible where the limit allows next to nothing", async () => {
    const { code, stderr } = await run("multiplex", ["-c", "2000"], {
      through: ["prlimit", "--nofile=128:128"],
    });
    expect(code).toBe(2);
    expect(stderr).toContain("2000 connections in 22 processes need about 155 descriptors");
    expect(stderr).not.toContain("--processes");
    expect(stderr).toContain("multiplex --connections 64 ");
  });

  it("finds out before the start that the limit is too low, with the number needed", async () => {
    const flags = ["-c", "500", "--processes", "1"];
    const { code, stdout, stderr } = await run("multiplex", flags, {
      through: ["prlimit", "--nofile=256:256"],
    });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("need about 564 descriptors");
    expect(stderr).toContain("the limit here is 256");
    expect(stderr).toContain("multiplex --connections 500 --processes 3");
    expect(stderr).toContain("multiplex --connections 192");
  });

  it("finds out before the start that the port range is too small", async () => {
    const flags = ["-c", "66000", "--port", "1"];
    const { code, stderr } = await run("multiplex", flags);
    expect(code).toBe(2);
    expect(stderr).toMatch(/local ports|descriptors/);
  });

  it("takes its server with it, even when it is killed with SIGKILL", async () => {
    const multiplex = start("multiplex", ["-c", "23", "--messages", "100000000"]);
    const [server] = await until(
      () => partsOf(multiplex.pid, "server.js"),
      (pids) => pids.length > 0,
    );
    multiplex.child.kill("SIGKILL");
    await until(allPids, (pids) => !pids.includes(server!));
  });

  it("gives up a server that says nothing", async () => {
    const server = await startServer(["--behave", "stall"]);
    const flags = ["-c", "23", "--port", `${server.port}`, "--timeout-ms", "200"];
    const { code, stdout } = await run("multiplex", flags);
    expect(stdout).toContain("messages    0 of 23 answered");
    expect(stdout).toContain(
      "kernel      0 ESTABLISHED at our end, 0 at the server's, when it was over",
    );
    expect(stdout).toContain("ETIMEDOUT 23 (the first: read: nothing on any connection for 200 ms");
    expect(code).toBe(1);
    // One after the other, not one silence after the other.
    const turns = lastJson(await run("multiplex", [...flags, "--turns", "--json"]));
    expect(turns["exchanged"]).toMatchObject({ sent: 1, failures: { ETIMEDOUT: { count: 1 } } });
  });

  it("gives up handshakes that nobody completes, and then those who are connected", async () => {
    const server = await startServer(["--backlog", "5"]);
    await suspend(server);
    const flags = ["-c", "23", "--port", `${server.port}`, "--timeout-ms", "300", "--json"];
    expect(lastJson(await run("multiplex", flags))).toMatchObject({
      opened: { open: 6 },
      exchanged: {
        sent: 6,
        answered: 0,
        failures: { ETIMEDOUT: { count: 23, syscalls: { connect: 17, read: 6 } } },
      },
    });
  });

  it("ends with 130 at Ctrl-C in the middle of the conversation", async () => {
    const server = await startServer(["--behave", "stall"]);
    const multiplex = start("multiplex", ["-c", "23", "--port", `${server.port}`]);
    await until(
      () => procListenerView(procTexts(), new Set([server.port])).clients.ESTABLISHED,
      (established) => established === 23,
    );
    multiplex.child.kill("SIGINT");
    expect((await multiplex.finished).code).toBe(130);
  });
});
