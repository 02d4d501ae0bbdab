import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../testing/programs.ts";
import { startSampler } from "./sampler.ts";

const ends: (() => unknown)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

describe("the sampler", () => {
  it("keeps all of a table that fits, and has nothing to say of it", () => {
    const sampler = startSampler();
    expect(sampler.stop()).toHaveLength(1);
    expect(sampler.notes()).toEqual([]);
  });

  it("keeps no more than it may of a table that changes for ever, and the newest of it", async () => {
    const sampler = startSampler(23);
    ends.push(() => sampler.stop());
    const server = createServer();
    ends.push(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const clients: Socket[] = [];
    ends.push(() => clients.forEach((client) => client.destroy()));
    const seen = (): number =>
      sampler.rows().filter(({ remote }) => remote === `127.0.0.1:${port}`).length;
    // Each has been seen before the next one comes: so there are 24 tables, of 1 to 24 rows and more.
    for (let count = 1; count <= 23; count += 1) {
      clients.push(connect(port, "127.0.0.1").on("error", () => undefined));
      await until(seen, (rows) => rows >= count);
    }
    const samples = sampler.stop();
    const newest = samples.at(-1)?.rows.length ?? 0;
    const all = samples.reduce((sum, { rows }) => sum + rows.length, 0);
    expect(newest).toBeGreaterThanOrEqual(24);
    expect(all - newest).toBeLessThanOrEqual(23);
    expect(sampler.notes().join()).toContain("states are missing");
  });
});
