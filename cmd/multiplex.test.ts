import { afterEach, describe, expect, it } from "vitest";
import { killAll, lastJson, run, start, startServer, until } from "../lib/testing/programs.ts";
import { allPids, commandLine } from "../lib/kernel/process.ts";
import { procTexts } from "../lib/sockets/capture.ts";
import { procListenerView } from "../lib/sockets/listener.ts";

afterEach(killAll);

type Side = {
  before: { threads: number; descriptors: number };
  open: { threads: number; descriptors: number };
};
type Result = {
  opened: { open: number };
  exchanged: { answered: number };
  client: Side;
  server?: Side;
};

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

  it("uses a server that is there, and finds its process", async () => {
    const server = await startServer();
    const result = lastJson(
      await run("multiplex", ["-c", "23", "--port", `${server.port}`, "--json"]),
    ) as unknown as Result;
    expect(result.server!.open.descriptors - result.server!.before.descriptors).toBe(23);
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
    const crowds = (): number[] =>
      allPids().filter((pid) => commandLine(pid).some((word) => word.endsWith("crowd-main.js")));
    const before = crowds();
    const ours = await until(
      () => crowds().filter((pid) => !before.includes(pid)),
      (pids) => pids.length === 2,
    );
    multiplex.child.kill("SIGINT");
    expect((await multiplex.finished).code).toBe(130);
    await until(crowds, (pids) => !ours.some((pid) => pids.includes(pid)));
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
    const ours = (): number[] =>
      allPids().filter((pid) =>
        commandLine(pid).join(" ").includes("server.js --host 127.0.0.1 --port 0 --backlog 4096"),
      );
    const [server] = await until(ours, (pids) => pids.length > 0);
    multiplex.child.kill("SIGKILL");
    await until(ours, (pids) => !pids.includes(server!));
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
