import { getEventListeners } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Churn } from "./churn.ts";
import { Crowd } from "./crowd.ts";
import { visitAll } from "./visits.ts";

const server = createServer((socket) => socket.pipe(socket).on("error", () => undefined));
beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
afterAll(() => server.close());

const where = (): { host: string; port: number } => ({
  host: "127.0.0.1",
  port: (server.address() as AddressInfo).port,
});
const message = Buffer.from("hello, TCP");

describe("the signal of a caller that lives on", () => {
  const { signal } = new AbortController();

  it("hears no more of visits, a churn or a crowd that are over", async () => {
    const { host, port } = where();
    const visits = { host, port, message, messages: 1, holdMs: 0, timeoutMs: 5_000, signal };
    expect(await visitAll(23, { ...visits, leave: "end" })).toMatchObject({ left: 23 });
    const churn = new Churn({
      ...{ host, ports: [port], localPorts: [], count: 23, durationMs: 5_000, concurrency: 1 },
      ...{ untilError: true, ratePerSecond: 0, leave: "end", fillLevel: () => 0, signal },
    });
    expect(await churn.run()).toMatchObject({ successes: 23 });
    const crowd = new Crowd({ host, port, connections: 23, message, opening: 1, signal });
    expect(await crowd.open()).toMatchObject({ open: 23 });
    crowd.close();
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("hears no more of those that node:net has refused to begin with", async () => {
    const { host } = where();
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = timers();
    const refused = { code: "ERR_SOCKET_BAD_PORT" };
    const port = 70_000;
    const visits = { host, port, message, messages: 1, holdMs: 0, timeoutMs: 5_000, signal };
    await expect(visitAll(23, { ...visits, leave: "end" })).rejects.toMatchObject(refused);
    for (const ratePerSecond of [0, 1_000]) {
      const churn = new Churn({
        ...{ host, ports: [where().port, port], localPorts: [], count: 23, concurrency: 2 },
        ...{ durationMs: 600_000, untilError: true, ratePerSecond, leave: "end", signal },
        fillLevel: () => 0,
      });
      await expect(churn.run()).rejects.toMatchObject(refused);
    }
    const timeoutMs = 600_000;
    const crowd = new Crowd({
      host,
      port,
      connections: 23,
      message,
      opening: 1,
      timeoutMs,
      signal,
    });
    await expect(crowd.open()).rejects.toMatchObject(refused);
    crowd.close();
    expect(getEventListeners(signal, "abort")).toEqual([]);
    expect(timers()).toBe(before);
  });
});

describe("a crowd", () => {
  it("says what each time has become of it, and nothing when nothing is to be said", async () => {
    const { signal } = new AbortController();
    const crowd = new Crowd({ ...where(), connections: 3, message, opening: 1, signal });
    const opened = await crowd.open();
    expect(await crowd.exchange(0)).toMatchObject({ sent: 0, answered: 0, failures: {} });
    expect(await crowd.exchange(2)).toMatchObject({ sent: 6, answered: 6 });
    crowd.close();
    const nobody = new Crowd({ ...where(), port: 1, connections: 3, message, opening: 1, signal });
    const refused = await nobody.open();
    expect(refused.failures).toMatchObject({ ECONNREFUSED: { count: 3 } });
    await nobody.open();
    expect(refused.failures).toMatchObject({ ECONNREFUSED: { count: 3 } });
    expect(opened.failures).toEqual({});
    nobody.close();
  });

  it("that is closed opens nothing more", async () => {
    const { signal } = new AbortController();
    const crowd = new Crowd({ ...where(), connections: 230, message, opening: 1, signal });
    const opening = crowd.open();
    await new Promise((resolve) => setImmediate(resolve));
    crowd.close();
    await opening;
    crowd.close();
    const open = (): Promise<number> =>
      new Promise((resolve) => server.getConnections((_, count) => resolve(count)));
    await expect.poll(open).toBe(0);
  });
});
