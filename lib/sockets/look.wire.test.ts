import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { lookOften } from "./look.ts";

const open: { close: () => void }[] = [];
afterEach(() => {
  open.splice(0).forEach((one) => one.close());
  vi.unstubAllEnvs();
});

/** 23 connections of this process to itself. */
async function twentyThree(): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push({ close: () => server.close() });
  server.on("connection", (socket) => open.push({ close: () => socket.destroy() }));
  const { port } = server.address() as AddressInfo;
  const sockets = Array.from({ length: 23 }, () => connect({ port, host: "127.0.0.1" }));
  sockets.forEach((socket) => open.push({ close: () => socket.destroy() }));
  await Promise.all(
    sockets.map((socket: Socket) => new Promise((resolve) => socket.once("connect", resolve))),
  );
}

describe("lookOften", () => {
  it("reads a short table from /proc, and lets the kernel count a long one, to the same result", async () => {
    await twentyThree();
    const look = lookOften("auto", { want: "counts" }, 23);
    const first = await look();
    const second = await look();
    expect([first.source, second.source]).toEqual(["proc", "counters"]);
    expect(first.tally.counts.ESTABLISHED).toBeGreaterThanOrEqual(46);
    // TIME_WAITs of others end all the time; ours are ESTABLISHED, and these the kernel counts to the last one.
    expect(second.tally.counts.ESTABLISHED).toBe(first.tally.counts.ESTABLISHED);
  });

  it("goes on reading a table that stays short, and asks ss for one that is filtered", async () => {
    await twentyThree();
    const short = lookOften("auto", { want: "counts" }, 1_000_000);
    const filtered = lookOften("auto", { want: "counts", filter: { family: 4 } }, 1);
    for (const [look, source] of [
      [short, "proc"],
      [filtered, "ss"],
    ] as const) {
      await look();
      expect((await look()).source).toBe(source);
    }
  });

  it("reads /proc to the end where ss, which the kernel's counters need, is missing", async () => {
    await twentyThree();
    const look = lookOften("auto", { want: "counts" }, 23);
    vi.stubEnv("PATH", "/nonexistent");
    const seen = [await look(), await look(), await look()];
    expect(seen.map(({ source }) => source)).toEqual(["proc", "proc", "proc"]);
    expect(seen[2]?.notes.join()).toContain("ss is not installed");
  });
});
