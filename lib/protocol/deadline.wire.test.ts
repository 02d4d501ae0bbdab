import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { Crowd } from "./crowd.ts";
import { openConnection } from "./json/connect.ts";
import { encodeMessage } from "./json/messages.ts";
import { visit, type VisitOptions } from "./visit.ts";

const LIMIT_MS = 100;

let server: Server;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  server = createServer((socket) => {
    sockets.push(socket.on("error", () => undefined));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** As SIGSTOP and SIGCONT would, or a long computation: the kernel goes on, we do not. */
function pauseOurselves(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * LIMIT_MS);
}

const visitOf = (port: number, options: Partial<VisitOptions> = {}) =>
  visit({
    ...{ host: "127.0.0.1", port, message: Buffer.from("x".repeat(23)), messages: 1, holdMs: 0 },
    ...{ leave: "end", timeoutMs: LIMIT_MS, signal: new AbortController().signal, ...options },
  });

function crowdOf(port: number, connections: number): Crowd {
  const { signal } = new AbortController();
  const message = Buffer.from("x".repeat(23));
  const options = { host: "127.0.0.1", port, connections, message, opening: connections, signal };
  return new Crowd({ ...options, timeoutMs: LIMIT_MS });
}

describe("a deadline that passes while we are paused ourselves", () => {
  it("does not hide an echo that has arrived meanwhile", async () => {
    const port = await listen((socket) =>
      socket.on("data", (chunk) => {
        socket.write(chunk);
        pauseOurselves();
      }),
    );
    expect(await visitOf(port)).toMatchObject({ echoes: 1, ending: { kind: "left" } });
  });

  it("does not hide an answer that has arrived meanwhile", async () => {
    const port = await listen((socket) =>
      socket.on("data", () => {
        socket.write(encodeMessage({ type: "pong" }));
        pauseOurselves();
      }),
    );
    const connection = await openConnection({ port, requestTimeoutMs: LIMIT_MS });
    expect((await connection.request({ type: "ping" })).type).toBe("pong");
    connection.destroy();
  });

  it("does not hide an answer to one of a crowd", async () => {
    const port = await listen((socket) =>
      socket.on("data", (chunk) => {
        socket.write(chunk);
        pauseOurselves();
      }),
    );
    const crowd = crowdOf(port, 2);
    await crowd.open();
    expect(await crowd.exchange(2)).toMatchObject({ answered: 4, failures: {} });
    crowd.close();
  });

  it("does not hide a handshake that is over", async () => {
    const port = await listen(() => undefined);
    await new Promise(setImmediate); // What comes next in this turn are timers.
    const opening = openConnection({ port, connectTimeoutMs: LIMIT_MS });
    await new Promise<void>((resolve) => process.nextTick(resolve)); // So long does Node take to call connect(2).
    pauseOurselves();
    const connection = await opening;
    expect(connection.isOpen).toBe(true);
    connection.destroy();
  });
});

describe("a crowd", () => {
  it("is patient as long as anybody hears something, however little", async () => {
    const waiting: (() => void)[] = [];
    const port = await listen((socket) =>
      socket.on("data", (chunk) => waiting.push(() => socket.write(chunk))),
    );
    const timer = setInterval(() => waiting.shift()?.(), LIMIT_MS / 2);
    const crowd = crowdOf(port, 7);
    await crowd.open();
    const { answered, durationMs } = await crowd.exchange(1);
    clearInterval(timer);
    crowd.close();
    expect(answered).toBe(7);
    expect(durationMs).toBeGreaterThan(2 * LIMIT_MS);
  });
});

describe("a visit", () => {
  it("waits for a whole echo no longer than its limit, however steadily it trickles in", async () => {
    const port = await listen((socket) =>
      socket.on("data", () => {
        const timer = setInterval(() => socket.write("x"), LIMIT_MS / 4);
        socket.on("close", () => clearInterval(timer));
      }),
    );
    const { ending } = await visitOf(port);
    expect(ending).toMatchObject({ errno: "ETIMEDOUT", syscall: "read" });
  });
});
