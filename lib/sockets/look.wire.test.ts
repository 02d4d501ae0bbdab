import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { lookOften } from "./look.ts";

const open: { close: () => void }[] = [];
afterEach(() => open.splice(0).forEach((one) => one.close()));

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
  it("reads a long table once, and then lets the kernel count, to the same result", async () => {
    await twentyThree();
    const look = lookOften("auto", { want: "counts" }, 23);
    const first = await look();
    const second = await look();
    expect([first.source, second.source]).toEqual(["ss", "counters"]);
    expect(first.tally.counts.ESTABLISHED).toBeGreaterThanOrEqual(46);
    // TIME_WAITs of others end all the time; ours are ESTABLISHED, and these the kernel counts to the last one.
    expect(second.tally.counts.ESTABLISHED).toBe(first.tally.counts.ESTABLISHED);
  });

  it("goes on reading a short table, or one that is filtered", async () => {
    await twentyThree();
    const short = lookOften("auto", { want: "counts" }, 1_000_000);
    const filtered = lookOften("auto", { want: "counts", filter: { family: 4 } }, 1);
    for (const look of [short, filtered]) {
      await look();
      expect((await look()).source).toBe("ss");
    }
  });
});
