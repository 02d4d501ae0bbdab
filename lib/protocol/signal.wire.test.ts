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
});
