import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { visitAll, type VisitsSummary } from "./visits.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** So many visits to an echo server, which tells of each connection how many there are then. */
async function visits(
  connections: number,
  signal: AbortSignal,
  onConnection: (open: number) => void,
): Promise<VisitsSummary> {
  let open = 0;
  const server = createServer((socket) => {
    onConnection((open += 1));
    socket.on("error", () => undefined).on("close", () => (open -= 1));
    socket.pipe(socket);
  });
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return visitAll(connections, {
    ...{ host: "127.0.0.1", port, message: Buffer.from("hello, TCP"), messages: 1 },
    ...{ holdMs: 0, leave: "end", timeoutMs: 5_000, signal },
  });
}

describe("many visits", () => {
  it("are all there at the same time, even when none of them stays", async () => {
    let most = 0;
    const { signal } = new AbortController();
    const seen = await visits(230, signal, (open) => (most = Math.max(most, open)));
    expect(seen).toMatchObject({ connected: 230, echoes: 230, left: 230 });
    expect(most).toBe(230);
  });

  it("begin one after the other, so that a signal is heard before they have all begun", async () => {
    let begun = 0;
    const count = (): number => (begun += 1);
    subscribe("net.client.socket", count);
    const controller = new AbortController();
    const seen = await visits(2_300, controller.signal, () => controller.abort());
    unsubscribe("net.client.socket", count);
    expect(begun).toBeGreaterThan(0);
    expect(begun).toBeLessThan(230);
    expect(seen.interrupted).toBeGreaterThan(2_070);
    expect(seen.failures).toEqual({});
  });
});
