import { afterEach, describe, expect, it } from "vitest";
import { freePort, until } from "../../testing/programs.ts";
import { ConnectionPool, jsonPool } from "./pool.ts";
import { createJsonServer, type JsonServer, type JsonServerOptions } from "./server.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(
  options: JsonServerOptions = {},
): Promise<{ server: JsonServer; port: number }> {
  const server = createJsonServer(options);
  const { port } = await server.listen({ port: 0 });
  ends.push(() => server.close({ drainMs: 0 }));
  return { server, port };
}

describe("a pool", () => {
  it("answers many requests over few connections, never more than its limit", async () => {
    const { server, port } = await serve();
    await using pool = jsonPool({ port }, { max: 3 });
    const answers = await Promise.all(
      Array.from({ length: 230 }, (_, n) =>
        pool.use((one) => one.request({ type: "echo", content: `${n}` })),
      ),
    );
    expect(answers.map(({ content }) => content)).toEqual(
      Array.from({ length: 230 }, (_, n) => `${n}`),
    );
    expect(pool.created).toBe(3);
    expect(server.tally.accepted).toBe(3);
  });

  it("keeps its least number of connections, and ends idle ones beyond it", async () => {
    const { server, port } = await serve();
    await using pool = jsonPool({ port }, { min: 1, max: 5, idleTimeoutMs: 100 });
    await Promise.all(
      Array.from({ length: 5 }, () => pool.use((one) => one.request({ type: "ping" }))),
    );
    expect(server.clients()).toBeGreaterThan(1);
    await until(
      () => server.clients(),
      (clients) => clients === 1,
    );
  });

  it("does not lend a connection again that the server has closed", async () => {
    const { server, port } = await serve({ idleTimeoutMs: 100, heartbeatMs: 20 });
    await using pool = jsonPool({ port }, { max: 1 });
    const first = await pool.use(async (one) => {
      await one.request({ type: "ping" });
      return one;
    });
    await until(
      () => first.isOpen,
      (isOpen) => !isOpen,
    );
    expect(server.clients()).toBe(0);
    expect(await pool.use((one) => one.request({ type: "ping" }))).toMatchObject({ type: "pong" });
    expect(pool.created).toBe(2);
  });

  it("tells what the work has failed with, whatever the end of its connection says", async () => {
    const fail = (code: string) => () => Promise.reject(Object.assign(new Error(), { code }));
    const parts = { create: () => Promise.resolve({}), destroy: fail("DESTROY") };
    await using pool = new ConnectionPool(parts, { max: 1 });
    await expect(pool.use(fail("WORK"))).rejects.toMatchObject({ code: "WORK" });
  });

  it("lets only so many wait, and only for so long", async () => {
    const { port } = await serve({ handlers: { never: () => new Promise(() => undefined) } });
    const pool = jsonPool({ port }, { max: 1, maxQueue: 2, acquireTimeoutMs: 100 });
    ends.push(() => pool.close(0));
    const busy = pool
      .use((one) => one.request({ type: "never" }, 400))
      .catch((error: unknown) => (error as { code: string }).code);
    await until(
      () => pool.size,
      (size) => size === 1,
    );
    const codes = await Promise.all(
      Array.from({ length: 3 }, () =>
        pool
          .use((one) => one.request({ type: "ping" }))
          .then(
            () => "answered",
            (error: unknown) => (error as { code: string }).code,
          ),
      ),
    );
    expect(codes.sort()).toEqual(["POOL_QUEUE_FULL", "POOL_TIMEOUT", "POOL_TIMEOUT"]);
    expect(await busy).toBe("REQUEST_TIMEOUT");
  });

  it("says why when no connection can be made", async () => {
    await using pool = jsonPool({ port: await freePort() }, { max: 1 });
    await expect(pool.use((one) => one.request({ type: "ping" }))).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
  });

  it.each([
    "before its first use",
    "while connections are made, and others wait for them",
    "after",
  ])("that is closed %s lends nothing more", async (when) => {
    const { port } = await serve();
    const pool = jsonPool({ port }, { max: 2 });
    const ping = (): Promise<string> =>
      pool
        .use((one) => one.request({ type: "ping" }))
        .then(
          ({ type }) => type,
          (error: unknown) => (error as { code: string }).code,
        );
    const early = when === "before its first use" ? [] : Array.from({ length: 5 }, ping);
    const answers = early.map(() => (when === "after" ? "pong" : "CLIENT_CLOSED"));
    if (when === "after") await Promise.all(early);
    await pool.close();
    expect(await Promise.all(early)).toEqual(answers);
    expect(await ping()).toBe("CLIENT_CLOSED");
    expect(pool.size).toBe(0);
  });

  it("has no more connections than its limit while others are being ended", async () => {
    let [alive, most] = [0, 0];
    const parts = {
      create: () => Promise.resolve((most = Math.max(most, (alive += 1)))),
      destroy: async () => {
        await new Promise((resolve) => setTimeout(resolve, 10));
        alive -= 1;
      },
    };
    await using pool = new ConnectionPool(parts, { min: 2, max: 2 });
    const fails = () => pool.use(() => Promise.reject(new Error("work"))).catch(() => undefined);
    await Promise.all(Array.from({ length: 23 }, fails));
    expect({ most, created: pool.created }).toEqual({ most: 2, created: 23 });
  });

  it("makes nothing for those who wait no longer, and has room for others", async () => {
    let tries = 0;
    const create = (): Promise<object> => ((tries += 1), new Promise(() => undefined));
    const parts = { create, destroy: () => undefined };
    const limits = { max: 1, maxQueue: 2, acquireTimeoutMs: 50 };
    const pool = new ConnectionPool(parts, limits);
    const code = () =>
      pool
        .use(() => Promise.resolve("lent"))
        .catch((error: unknown) => (error as { code: string }).code);
    for (let round = 0; round < 2; round += 1)
      expect(await Promise.all([code(), code(), code()])).toEqual(Array(3).fill("POOL_TIMEOUT"));
    expect(tries).toBe(1);
    await pool.close(0);
  });

  it("ends what is still lent when the time for that is over", async () => {
    const { server, port } = await serve();
    const pool = jsonPool({ port }, { max: 1 });
    let finish = (): void => undefined;
    const work = pool.use(() => new Promise<void>((resolve) => (finish = resolve)));
    await until(
      () => server.clients(),
      (clients) => clients === 1,
    );
    await pool.close(50);
    await until(
      () => server.clients(),
      (clients) => clients === 0,
    );
    finish();
    await work;
    expect(pool.size).toBe(0);
  });

  it("whose connections never come, or never go, is not waited for either", async () => {
    const never = () => new Promise<never>(() => undefined);
    const coming = new ConnectionPool({ create: never, destroy: () => undefined });
    const refused = expect(coming.use(() => Promise.resolve())).rejects.toMatchObject({
      code: "CLIENT_CLOSED",
    });
    await coming.close(50);
    await refused;
    const going = new ConnectionPool({ create: () => Promise.resolve({}), destroy: never });
    await going.use(() => Promise.resolve());
    await going.close(50);
  });
});
