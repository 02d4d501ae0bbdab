import { afterEach, describe, expect, it } from "vitest";
import { hasTool } from "../lib/kernel/tools.ts";
import { ELSEWHERE, REFUSED } from "../lib/testing/elsewhere.ts";
import {
  DIST,
  freePort,
  killAll,
  lastJson,
  run,
  start,
  startServer,
  suspend,
  until,
} from "../lib/testing/programs.ts";
import { createJsonServer } from "../lib/protocol/json/server.ts";
import { framed, rawPeer } from "../lib/testing/raw-peer.ts";

afterEach(killAll);

const serve = (...flags: string[]) => startServer(["--protocol", "json", ...flags]);
const SHORT = ["--connections", "23", "--duration-ms", "300", "--warmup-ms", "100"];
const ENDLESS = ["--connections", "23", "--duration-ms", "60000", "--warmup-ms", "0"];

function load(port: number, ...flags: string[]): string[] {
  return ["performance", "--port", `${port}`, ...flags];
}

/** Resolves when the server has answered many requests of this run. */
async function underWay(port: number): Promise<void> {
  const peer = await rawPeer(port);
  await until(
    async () => {
      peer.send(framed({ type: "get_stats" }));
      return ((await peer.next()) as { total_messages: number }).total_messages;
    },
    (total) => total > 100,
  );
  peer.destroy();
}

describe("client performance", () => {
  it("counts what the server counts, checks every echo, and says what its latencies leave out", async () => {
    const server = await serve();
    const { code, stdout, stderr } = await run("client", load(server.port, ...SHORT));
    expect(stdout).toMatch(/^load {8}23 connection\(s\), 1 in flight on each: echoes of 64 B$/m);
    const [, counted] = /the server counted the same ([\d,]+) requests/.exec(stdout) ?? [];
    const [, answered] = /^answered {4}([\d,]+) in/m.exec(stdout) ?? [];
    expect(Number(answered?.replaceAll(",", ""))).toBeGreaterThan(23);
    expect(Number(counted?.replaceAll(",", ""))).toBeGreaterThanOrEqual(
      Number(answered?.replaceAll(",", "")),
    );
    expect(stdout.replaceAll(/\s+/g, " ")).toContain("a server that stalls is asked less");
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    // One line before, and no progress where nobody watches.
    expect(stderr).toBe(
      `client: 23 to 127.0.0.1:${server.port}: warm-up 100 ms, then 300 ms. Ctrl-C to stop.\n`,
    );
    expect(code).toBe(0);
  });

  it.skipIf(!hasTool("ss"))(
    "opens at most 100 connections per second to an address that is not loopback",
    async () => {
      const server = `${process.execPath} ${DIST}/cmd/server.js --protocol json --host ${REFUSED}`;
      const script = `${server} > /dev/null 2>&1 & until ss -tln | grep -q :9999; do sleep 0.05; done; date +%s%3N >&2; "$@"; kill $!`;
      const through = [...ELSEWHERE, "sh", "-c", script, "sh"];
      const flags = ["--host", REFUSED, "--allow-remote", "--connections", "51", "--json"];
      const short = ["--warmup-ms", "0", "--duration-ms", "10"];
      const finished = await run("client", ["performance", ...flags, ...short], { through });
      const startMs = Number(finished.stderr.trim());
      expect(Date.now() - startMs).toBeGreaterThan(500);
      expect(lastJson(finished)).toMatchObject({ connections: 51, wrong: 0 });
    },
  );

  it("prints JSON, and nothing else, when asked to", async () => {
    const server = await serve();
    const flags = [...SHORT, "--in-flight", "4", "--bytes", "0", "--json"];
    const finished = await run("client", load(server.port, ...flags));
    const result = lastJson(finished);
    expect(finished).toMatchObject({ code: 0, stderr: "" });
    expect(Object.keys(result)).toEqual([
      ...["version", "connections", "inFlight", "contentBytes", "ratePerSecond", "durationMs"],
      ...["answered", "perSecond", "failed", "wrong", "latencyMs", "sent", "unsent", "clientCpu"],
      ...["lost", "serverCounted"],
    ]);
    expect(result).toMatchObject({
      ...{ version: 1, connections: 23, inFlight: 4, contentBytes: 0, ratePerSecond: 0 },
      ...{ failed: {}, lost: {}, wrong: 0, unsent: 0, serverCounted: result["sent"] },
    });
    expect(Object.keys(result["latencyMs"] as object)).toEqual(
      "min mean p50 p90 p99 p999 max".split(" "),
    );
  });

  it("keeps to a rate, and says which requests of it were never sent", async () => {
    const server = await serve();
    const flags = [...SHORT, "--json", "--rate"];
    const slow = lastJson(await run("client", load(server.port, ...flags, "100")));
    // On a busy machine the last ones that are due do not find a lane.
    expect(due(slow) - 400 / 10).toBeOneOf([0, 1]);
    expect(slow["serverCounted"]).toBe(slow["sent"]);
    const fast = lastJson(await run("client", load(server.port, ...flags, "1000000")));
    expect(due(fast) - 400_000).toBeOneOf([0, 1]);
    expect(fast["unsent"]).toBeGreaterThan(1);
    const { stdout } = await run("client", load(server.port, ...SHORT, "--rate", "1000000"));
    expect(stdout.replaceAll(/\s+/g, " ")).toMatch(
      /The rate was not reached: [\d,]+ requests were due at the end and not sent/,
    );
    expect(stdout).not.toContain("stalls");
  });

  it("shows a token, asks for compression", async () => {
    const server = await startServer(["--protocol", "json"], { env: { AUTH_TOKEN: "right-23" } });
    const flags = load(server.port, ...SHORT, "--compress", "--bytes", "2000", "--json");
    const refused = await run("client", flags);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain("UNAUTHENTICATED");
    const welcome = await run("client", flags, { env: { AUTH_TOKEN: "right-23" } });
    expect(welcome.code).toBe(0);
    expect(lastJson(welcome)).toMatchObject({ failed: {}, wrong: 0 });
  });

  it("fails as the demo does when nobody listens", async () => {
    const port = await freePort();
    const { code, stdout, stderr } = await run("client", load(port, ...SHORT));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`connect ECONNREFUSED 127.0.0.1:${port}`);
  });

  it("refuses a server that does not speak the protocol, such as one that echoes everything", async () => {
    const { port } = await startServer();
    const { code, stdout, stderr } = await run("client", load(port, ...SHORT));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("whoever listens there sends back what it gets (SENT_BACK)");
  });

  it("refuses a server that answers its first question with something else", async () => {
    const server = createJsonServer({ handlers: { get_stats: () => ({ type: "stats" }) } });
    const { port } = await server.listen({ port: 0 });
    const { code, stderr } = await run("client", load(port, ...SHORT));
    await server.close({ drainMs: 0 });
    expect(code).toBe(2);
    expect(stderr).toContain('is no server of this protocol: it answers get_stats with "stats"');
  });

  it("refuses a server that does not count its messages", async () => {
    const server = createJsonServer({ handlers: { get_stats: () => ({ type: "server_stats" }) } });
    const { port } = await server.listen({ port: 0 });
    const { code, stderr } = await run("client", load(port, ...SHORT));
    await server.close({ drainMs: 0 });
    expect(code).toBe(2);
    expect(stderr).toContain("it answers get_stats without total_messages");
  });

  it("refuses flags without a meaning, and other people's servers", async () => {
    const complaint = async (...words: string[]): Promise<string> => {
      const { code, stderr } = await run("client", words);
      expect(code, words.join(" ")).toBe(2);
      return stderr;
    };
    const [leave, rate, demo, bytes, remote, word] = await Promise.all([
      complaint("performance", "--leave", "reset"),
      complaint("--rate", "5"),
      complaint("demo", "--connections", "23"),
      complaint("performance", "--bytes", "1000001"),
      complaint("performance", "--host", "192.0.2.1", "--connections", "1"),
      complaint("perform"),
    ]);
    expect(leave).toContain("--leave has no meaning with performance");
    expect(rate).toContain("--rate has no meaning with --protocol echo");
    expect(demo).toContain(
      "--connections, or CONNECTIONS in the environment, has no meaning with demo",
    );
    expect(bytes).toContain("from 0 to 1000000");
    expect(remote).toContain("--allow-remote");
    expect(word).toContain("expected at most one of demo, interactive, performance");
  });

  it.each([[[]], [["--rate", "500"]]])(
    "prints with Ctrl-C what was measured until then (%j)",
    async (more) => {
      const server = await serve();
      const client = start("client", load(server.port, ...ENDLESS, ...more));
      await underWay(server.port);
      client.child.kill("SIGINT");
      const { code, stdout } = await client.finished;
      expect(code).toBe(130);
      expect(stdout).toMatch(/^answered {4}[1-9]/m);
      expect(stdout).not.toMatch(/^(failed|lost) /m);
    },
  );

  it("counts with a rate what independent users would have waited for a server that stalls", async () => {
    const server = await serve();
    const flags = ["--connections", "1", "--rate", "200", "--duration-ms", "2000"];
    const client = start("client", load(server.port, ...flags, "--warmup-ms", "0", "--json"));
    await underWay(server.port);
    await suspend(server);
    const startMs = performance.now();
    await until(
      () => performance.now() - startMs,
      (ms) => ms >= 500,
    );
    server.child.kill("SIGCONT");
    const { latencyMs } = lastJson(await client.finished) as { latencyMs: Record<string, number> };
    // One request was under way, and a quarter of all were due: to count from when they could be sent would hide them.
    expect(latencyMs["p90"]).toBeGreaterThan(100);
    expect(latencyMs["max"]).toBeGreaterThan(450);
  });

  it("ends with Ctrl-C when the server does not answer any more", async () => {
    const server = await serve();
    const client = start("client", load(server.port, ...ENDLESS));
    await underWay(server.port);
    await suspend(server);
    client.child.kill("SIGINT");
    const { code, stdout } = await client.finished;
    expect(code).toBe(130);
    expect(stdout).toMatch(/^checked {5}no: /m);
  });

  it("measures the time, too, in which a server hangs", async () => {
    const server = await serve();
    const client = start("client", load(server.port, ...ENDLESS, "--json"));
    await underWay(server.port);
    await suspend(server);
    const startMs = performance.now();
    await until(
      () => performance.now() - startMs,
      (ms) => ms >= 1_500,
    );
    client.child.kill("SIGINT");
    const { durationMs, answered, perSecond } = lastJson(await client.finished);
    expect(durationMs).toBeGreaterThan(1_500);
    expect(perSecond).toBeCloseTo(((answered as number) * 1_000) / (durationMs as number), 3);
  });

  it.each([[[]], [["--rate", "500"]]])(
    "ends when the server does, and says with 1 what was lost (%j)",
    async (more) => {
      const server = await serve();
      const client = start("client", load(server.port, ...ENDLESS, ...more, "--json"));
      await underWay(server.port);
      server.child.kill("SIGKILL");
      const finished = await client.finished;
      expect(finished.code).toBe(1);
      const { answered, lost, serverCounted } = lastJson(finished);
      expect(answered).toBeGreaterThan(0);
      expect(sum(lost)).toBe(23);
      expect(serverCounted).toBeUndefined();
    },
  );

  it("goes on with the connections that a full server leaves it, and names the others", async () => {
    const server = await serve("--max-connections", "20");
    const { code, stdout } = await run("client", load(server.port, ...SHORT));
    expect(code).toBe(1);
    expect(stdout).toMatch(/^lost {8}connection\(s\): 3 TOO_MANY_CONNECTIONS$/m);
    expect(stdout).toMatch(/^answered {4}[1-9]/m);
  });

  it("counts what a server refuses", async () => {
    const server = await serve("--rate", "10");
    const finished = await run("client", load(server.port, ...SHORT, "--json"));
    expect(finished.code).toBe(1);
    const { failed } = lastJson(finished) as { failed: Record<string, number> };
    expect(Object.keys(failed)).toEqual(["RATE_LIMITED"]);
  });
});

function due({ sent, unsent }: Record<string, unknown>): number {
  return (sent as number) + (unsent as number);
}

function sum(counts: unknown): number {
  return Object.values(counts as Record<string, number>).reduce((total, many) => total + many, 0);
}
