/**
 * write-after-close: the first write to a peer that has gone succeeds. The second fails, and in Node it can end the process.
 *
 * A write hands bytes to the own kernel, and the kernel learns only afterwards that nobody wants them: the peer's kernel
 * answers the segment with a RST. The write after that fails with EPIPE. In Node the failure is an 'error' event,
 * and an 'error' event without a listener ends the process.
 *
 * WATCH   CLOSE_WAIT before the first write, nothing after it; TcpOutRsts
 * CAVEAT  Node closes by itself on the peer's FIN; allowHalfOpen: true is what shows the kernel's behaviour
 * SEE     tcp_reset() and tcp_rcv_state_process() in net/ipv4/tcp_input.c; EPIPE in write(2); 'error' in Node's events
 */
import { execFile } from "node:child_process";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import {
  rows,
  settled,
  withSockets,
  type Line,
  type Listening,
  type OwnSockets,
} from "../lab/network.ts";

type Params = { readonly clients: number };

/** The callback of a write: the error's name, or `none`. */
function write({ socket }: Line): Promise<string> {
  return new Promise((resolve) =>
    socket.write("hello", (error: NodeJS.ErrnoException | null | undefined) =>
      resolve(error == null ? "none" : (error.code ?? "?")),
    ),
  );
}

/** Writes on every connection at once; how many of the callbacks had this result. */
async function writeAll(lines: readonly Line[], errno: string): Promise<number> {
  const results = await Promise.all(lines.map(write));
  return results.filter((result) => result === errno).length;
}

/** Clients whose server has closed, and who have been told so (their kernel has; they have not looked). */
async function abandoned(
  bench: Bench,
  own: OwnSockets,
  clients: number,
): Promise<{ server: Listening; lines: readonly Line[] }> {
  const server = await own.listen({ onLine: ({ socket }) => socket.destroy() });
  const lines = await own.dialAll(clients, { port: server.port, allowHalfOpen: true });
  await settled(bench, clients, ["client", "CLOSE_WAIT", server.port]);
  return { server, lines };
}

const broken = {
  about: "the server has closed: the first write is fine, the second is EPIPE",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const waiting = bench.predict("CLOSE_WAIT, client's side", clients, "the FIN is here");
      const first = bench.predict("first write() without an error", clients);
      const resets = bench.predict("RSTs sent (TcpOutRsts)", clients, "the answer to that write");
      const gone = bench.predict("CLOSE_WAIT after it", 0, "the RST ended the connection");
      const second = bench.predict("second write() = EPIPE", clients);
      const { server, lines } = await abandoned(bench, own, clients);
      waiting.measured(rows(bench, "client", "CLOSE_WAIT", server.port).length);
      first.measured(await writeAll(lines, "none"));
      const counted = await bench.until(
        () => bench.counted("TcpOutRsts"),
        (count) => count === clients,
      );
      resets.measured(counted);
      gone.measured(rows(bench, "client", "CLOSE_WAIT", server.port).length);
      second.measured(await writeAll(lines, "EPIPE"));
    });
    await crash(bench, "", 1);
  },
};

/** A client as a program of its own: it goes on writing, with or without a listener for 'error'. */
function program(port: number, listener: string): string {
  return `
    const socket = require("node:net").connect({ host: "127.0.0.1", port: ${port}, allowHalfOpen: true });
    ${listener}
    const timer = setInterval(() => socket.write("hello"), 20);
    socket.resume().on("close", () => clearInterval(timer));
  `;
}

type Ending = { readonly code: number | string; readonly said: string };

/** Runs such a client to its end. Returns what it said. */
async function crash(bench: Bench, listener: string, expectedCode: number): Promise<string> {
  let heard = "";
  await withSockets(async (own) => {
    const { port } = await own.listen({ onLine: ({ socket }) => socket.destroy() });
    const code = bench.predict("exit code of such a client", expectedCode);
    const thrown = bench.predict(
      "it says: Unhandled 'error' event",
      expectedCode === 0 ? "no" : "yes",
    );
    const ending = await new Promise<Ending>((resolve) => {
      const argv = ["--eval", program(port, listener)];
      execFile(process.execPath, argv, { timeout: 5_000 }, (error, _out, said) =>
        resolve({ code: error === null ? 0 : (error.code ?? "killed"), said }),
      );
    });
    code.measured(ending.code);
    thrown.measured(ending.said.includes("Unhandled 'error' event") ? "yes" : "no");
    heard = ending.said;
  });
  return heard;
}

const control = {
  about: "the server is still there: both writes are fine",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const fine = bench.predict("write() without an error", 2 * clients, "two on each");
      const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
      const arrived = bench.predict("bytes that arrived", 2 * clients * "hello".length);
      const server = await own.listen();
      const lines = await own.dialAll(clients, { port: server.port });
      fine.measured((await writeAll(lines, "none")) + (await writeAll(lines, "none")));
      const received = (): number => server.lines.reduce((sum, { bytes }) => sum + bytes, 0);
      await bench.until(received, (bytes) => bytes === 2 * clients * "hello".length);
      arrived.measured(received());
      resets.measured(bench.counted("TcpOutRsts"));
    });
  },
};

const heedTheEnd = {
  about: "heed the peer's FIN: Node's default closes on 'end', and a later write says so",
  run: async (bench: Bench, { clients }: Params) => {
    await withSockets(async (own) => {
      const told = bench.predict("clients that are told: 'end'", clients);
      const resets = bench.predict(
        "RSTs sent (TcpOutRsts)",
        0,
        "nothing was written into the void",
      );
      const refused = bench.predict("the first write() already fails", clients, "EPIPE, by Node");
      const server = await own.listen({ onLine: ({ socket }) => socket.destroy() });
      const lines = await own.dialAll(clients, { port: server.port });
      await bench.until(
        () => lines.every(({ hasEnded }) => hasEnded),
        (all) => all,
      );
      told.measured(lines.filter(({ hasEnded }) => hasEnded).length);
      refused.measured(clients - (await writeAll(lines, "none")));
      resets.measured(bench.counted("TcpOutRsts"));
    });
  },
};

const listen = {
  about: "a listener for 'error': the process lives, and knows what happened",
  run: async (bench: Bench) => {
    await crash(bench, 'socket.on("error", () => undefined);', 0);
  },
};

const CATCHES = `
    let [tried, caught] = [0, 0];
    const raw = socket.write.bind(socket);
    socket.write = (text) => { try { tried += 1; raw(text); } catch { caught += 1; } };
    process.on("exit", () => console.error("tried", tried, "caught", caught));
`;

const tryCatch = {
  about: "try and catch around write(): the error is an event, and is not thrown there",
  run: async (bench: Bench) => {
    const tried = bench.predict("writes within the try", atLeast(2), "the second one fails");
    const caught = bench.predict("errors that catch has seen", 0);
    const said = await crash(bench, CATCHES, 1);
    tried.measured(Number(/tried (\d+)/.exec(said)?.[1]));
    caught.measured(Number(/caught (\d+)/.exec(said)?.[1]));
  },
};

export default defineLab({
  name: "write-after-close",
  summary: "the first write to a closed peer succeeds, the second is EPIPE",
  tags: ["closing"],
  params: { clients: [23, "connections"] },
  story: {
    see: "A write after the peer has closed reports success; the next one fails with EPIPE, and without a listener Node exits with 1.",
    why:
      "The peer's FIN only says that it will send no more; it might still read, so the kernel lets us write. When the peer's program has " +
      "closed altogether, its kernel answers our data with a RST, and that takes a round trip: the write has returned by then. Only the next one " +
      "can report it. What the first one carried is lost, and nothing but an answer from the peer's program could have told.",
    recognise: [
      [
        "ss -tanp state close-wait",
        "connections whose peer has closed, and who would still be written to",
      ],
      ["nstat -az TcpOutRsts", "at the peer: answers to writes that nobody wants"],
      ["nstat -az TcpEstabResets", "at the writer: connections that such an answer has ended"],
      ["strace -f -e trace=write,writev,sendto -p PID", "EPIPE, after a write that succeeded"],
    ],
    symptoms: [
      "EPIPE from write()",
      "ECONNRESET from read()",
      "Node ends with an unhandled 'error' event",
    ],
    fix: [
      "A listener for 'error' on every socket, also on those that you only pass on; stream.pipeline() adds its own.",
      "Heed 'end': leave allowHalfOpen at false unless you mean it, and stop writing when the peer has ended.",
      "A write is not a delivery: wait for an answer on the level of the application, and repeat only what may be repeated.",
    ],
    reports: ["haraka/Haraka#207", "nodejs/help#1645", "nodejs/node-v0.x-archive#6211"],
  },
  arms: { broken, control, fixed: [heedTheEnd, listen], myth: [tryCatch] },
});
