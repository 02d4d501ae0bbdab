/**
 * reset-close: closing with a RST leaves no TIME_WAIT, and throws away what was not yet sent.
 *
 * close(2) hands the rest over to the kernel: it goes on sending what is queued, then the FIN, then waits in TIME_WAIT. With
 * SO_LINGER set to zero seconds (in Node resetAndDestroy()) it does none of that: the send queue is emptied into nothing, one
 * RST goes out, and the connection is gone on both sides at once.
 *
 * WATCH   TIME_WAIT: 0, and the bytes that the peer's program never gets
 * CAVEAT  what has reached the peer's kernel can still be read there on Linux; other systems throw that away too
 * CAVEAT  before libuv 1.52 (Node 20 and 22, the first releases of 24) a server is told 'end', not ECONNRESET, when the RST was there
 *         before it read: libuv saw a short read and EPOLLHUP together and spared itself the read() that would have returned the error
 * SEE     uv__stream_io() in libuv's src/unix/stream.c, uv_tcp_close_reset() in src/unix/tcp.c; libuv/libuv#4997
 * SEE     tcp_close() and tcp_disconnect() in net/ipv4/tcp.c; SO_LINGER in socket(7); RFC 9293 section 3.10.7
 */
import { openDescriptors } from "../kernel/process.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import {
  countErrno,
  rows,
  settled,
  withSockets,
  type Line,
  type Listening,
  type OwnSockets,
} from "../lab/network.ts";

const STILL_READINGS = 6;

type Params = { readonly clients: number; readonly kib: number };

/** Clients with an upload that the kernel has taken in full, and a server whose program has not read any of it yet. */
type Scene = {
  readonly server: Listening;
  readonly lines: readonly Line[];
  /** Bytes that are still in the clients' send queues. */
  readonly unsent: number;
};

async function upload(bench: Bench, own: OwnSockets, { clients, kib }: Params): Promise<Scene> {
  // The kernel's defaults: a machine that was tuned may take an upload whole.
  bench.sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456");
  bench.sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304");
  const server = await own.listen({ pauseOnConnect: true });
  const lines = await own.dialAll(clients, { port: server.port });
  const body = Buffer.alloc(kib * 1024);
  const taken = bench.predict(
    "write() callbacks without an error",
    clients,
    "they mean: the kernel has it, and no more",
  );
  const callbacks = lines.map(
    ({ socket }) =>
      new Promise<boolean>((resolve) => socket.write(body, (error) => resolve(error == null))),
  );
  const results = await Promise.all(callbacks);
  taken.measured(results.filter((isFine) => isFine).length);
  return { server, lines, unsent: await stillUnsent(bench, server.port) };
}

/** The sum of the clients' send queues (Send-Q), once it has stopped moving. */
async function stillUnsent(bench: Bench, port: number): Promise<number> {
  let unsent = -1;
  let still = 0;
  const look = (): boolean => {
    const queues = rows(bench, "client", "ESTABLISHED", port).map(({ sendQ }) => sendQ ?? 0);
    const now = queues.reduce((sum, bytes) => sum + bytes, 0);
    still = now === unsent ? still + 1 : 0;
    unsent = now;
    return still === STILL_READINGS;
  };
  await bench.until(look, (isStill) => isStill);
  return unsent;
}

/** Lets the server read until its connections are over; resolves to the bytes that its program was given. */
async function readAll(bench: Bench, { lines }: Listening): Promise<number> {
  for (const { socket } of lines) socket.resume();
  await bench.until(
    () => lines.every(({ isClosed }) => isClosed),
    (isOver) => isOver,
  );
  return lines.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Does this Node's libuv take a RST behind the last data for the end of the stream? Until 1.51 it did (libuv/libuv#4997). */
function takesResetForEnd(): boolean {
  const [major = 0, minor = 0] = process.versions.uv.split(".").map(Number);
  return major === 1 && minor < 52;
}

const broken = {
  about: "write, wait for the callback, resetAndDestroy(): no TIME_WAIT, and data is lost",
  run: async (bench: Bench, params: Params) => {
    await withSockets(async (own) => {
      const { clients, kib } = params;
      bench.say(`${clients} clients write ${kib} KiB each; the server reads later.`);
      const written = clients * kib * 1024;
      const { server, lines, unsent } = await upload(bench, own, params);
      const queued = bench.predict("bytes in the clients' Send-Q", atLeast(1), "a full window");
      const lost = bench.predict("bytes that the server never gets", unsent, "what was in Send-Q");
      const mistaken = takesResetForEnd() ? clients : 0;
      const because = `libuv ${process.versions.uv}; since 1.52 it reads once more after a short read`;
      const ended = bench.predict("server sees 'end', as if complete", mistaken, because);
      const errors = bench.predict("server sees ECONNRESET", clients - mistaken);
      const resets = bench.predict("RSTs sent (TcpOutRsts)", clients);
      const aborts = bench.predict("closed by RST (TCPAbortOnData)", clients);
      const timeWait = bench.predict("TIME_WAIT, client's side", 0);
      queued.measured(unsent);
      for (const { socket } of lines) socket.resetAndDestroy();
      // A busy kernel delivers RSTs a moment later; a window update that the server sends before would be answered by another one.
      await settled(bench, 0, ["server", "ESTABLISHED", server.port]);
      lost.measured(written - (await readAll(bench, server)));
      ended.measured(server.lines.filter(({ hasEnded }) => hasEnded).length);
      errors.measured(countErrno(server.lines, "ECONNRESET"));
      resets.measured(bench.counted("TcpOutRsts"));
      aborts.measured(bench.counted("TcpExtTCPAbortOnData"));
      timeWait.measured(rows(bench, "client", "TIME_WAIT", server.port).length);
    });
  },
};

/** The upload closed with end(), or with what comes to the same. */
async function finAfterUpload(
  bench: Bench,
  params: Params,
  leave: (line: Line) => void,
): Promise<void> {
  await withSockets(async (own) => {
    const { clients, kib } = params;
    const { server, lines } = await upload(bench, own, params);
    const lost = bench.predict("bytes that the server never gets", 0);
    const errors = bench.predict("server sees ECONNRESET", 0);
    const aborts = bench.predict("closed by RST (TCPAbortOnData)", 0);
    const timeWait = bench.predict("TIME_WAIT, client's side", clients, "it closes first");
    for (const line of lines) leave(line);
    lost.measured(clients * kib * 1024 - (await readAll(bench, server)));
    errors.measured(countErrno(server.lines, "ECONNRESET"));
    aborts.measured(bench.counted("TcpExtTCPAbortOnData"));
    timeWait.measured(await settled(bench, clients, ["client", "TIME_WAIT", server.port]));
  });
}

const control = {
  about: "the same upload, closed with a FIN: all of it arrives, and TIME_WAIT is the price",
  run: (bench: Bench, params: Params) =>
    finAfterUpload(bench, params, ({ socket }) => socket.end()),
};

/** A server that does something with a connection once it has the whole upload. */
function whenComplete(
  own: OwnSockets,
  bytes: number,
  answer: (line: Line) => void,
): Promise<Listening> {
  return own.listen({
    onLine: (line) => {
      line.socket.on("data", () => {
        if (line.bytes === bytes) answer(line);
      });
    },
  });
}

const resetAfterAnswer = {
  about: "reset only after the server's answer: nothing is on its way, nothing is lost",
  run: async (bench: Bench, { clients, kib }: Params) => {
    await withSockets(async (own) => {
      const bytes = kib * 1024;
      const server = await whenComplete(own, bytes, ({ socket }) => socket.write("done"));
      const lost = bench.predict("bytes that the server never gets", 0);
      const errors = bench.predict("server sees ECONNRESET", clients, "it still has to expect it");
      const aborts = bench.predict("closed by RST (TCPAbortOnData)", clients);
      const timeWait = bench.predict("TIME_WAIT, client's side", 0);
      const lines = await own.dialAll(clients, { port: server.port });
      for (const { socket } of lines) {
        socket.once("data", () => socket.resetAndDestroy());
        socket.write(Buffer.alloc(bytes));
      }
      lost.measured(clients * bytes - (await readAll(bench, server)));
      errors.measured(countErrno(server.lines, "ECONNRESET"));
      aborts.measured(bench.counted("TcpExtTCPAbortOnData"));
      timeWait.measured(rows(bench, "client", "TIME_WAIT", server.port).length);
    });
  },
};

const serverCloses = {
  about: "let the server close first: TIME_WAIT is on its port, and nobody resets",
  run: async (bench: Bench, { clients, kib }: Params) => {
    await withSockets(async (own) => {
      const bytes = kib * 1024;
      const server = await whenComplete(own, bytes, ({ socket }) => socket.end("done"));
      const lost = bench.predict("bytes that the server never gets", 0);
      const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
      const ours = bench.predict("TIME_WAIT, client's side", 0);
      const theirs = bench.predict("TIME_WAIT, server's side", clients);
      const lines = await own.dialAll(clients, { port: server.port });
      for (const { socket } of lines) socket.write(Buffer.alloc(bytes));
      lost.measured(clients * bytes - (await readAll(bench, server)));
      resets.measured(bench.counted("TcpOutRsts"));
      const seen = await settled(bench, clients, ["server", "TIME_WAIT", server.port]);
      ours.measured(rows(bench, "client", "TIME_WAIT", server.port).length);
      theirs.measured(seen);
    });
  },
};

const endFirst = {
  about: "end() just before resetAndDestroy(): no RST, TIME_WAIT is back, and a descriptor is lost",
  run: async (bench: Bench, params: Params) => {
    const { clients } = params;
    const refused = bench.predict("clients that are told: EINVAL", clients, "a FIN is under way");
    const lost = bench.predict(
      "descriptors that stay open",
      clients,
      "destroyed, and never closed",
    );
    const left: Line[] = [];
    const before = openDescriptors();
    await finAfterUpload(bench, params, (line) => {
      left.push(line);
      line.socket.end();
      line.socket.resetAndDestroy();
    });
    refused.measured(countErrno(left, "EINVAL"));
    lost.measured(openDescriptors() - before);
  },
};

export default defineLab({
  name: "reset-close",
  summary: "closing with a RST avoids TIME_WAIT, and loses what was not yet sent",
  tags: ["closing"],
  params: {
    clients: [23, "connections"],
    kib: [
      256,
      "KiB that each client writes; more than the peer's kernel takes unread",
      [128, 1_024],
    ],
  },
  story: {
    see: "No TIME_WAIT at all; the server gets the first part of each upload and then the end, as if that were all; since libuv 1.52 (later releases of Node 24) ECONNRESET.",
    why:
      "A write that has succeeded has only reached the own kernel. An ordinary close lets the kernel go on: it sends the queue, then the " +
      "FIN, and keeps the connection in TIME_WAIT. A close with SO_LINGER at zero seconds frees the queue, sends one RST, and forgets " +
      "the connection. The peer's read() returns what had arrived, then ECONNRESET; Node with a libuv before 1.52 reports that as a plain 'end', so only a length " +
      "or an end mark inside the data tells a part from the whole. While a shutdown is under way libuv refuses to reset: after end(), resetAndDestroy() " +
      "closes nothing. The FIN goes out, an 'error' event says EINVAL, 'close' never comes, and the descriptor stays open until the process ends. Later, after 'finish', it " +
      "does send a RST.",
    recognise: [
      [
        "nstat -az TcpExtTCPAbortOnData TcpOutRsts",
        "closes with SO_LINGER 0 here, and RSTs in all",
      ],
      [
        "nstat -az TcpEstabResets",
        "ends of connections that went from ESTABLISHED or CLOSE_WAIT to CLOSE at once: by RST, or by a time-out",
      ],
      ["ss -tn state established '( dport = :PORT )'", "Send-Q: what a reset now would lose"],
      ["strace -f -e trace=setsockopt -p PID", "SO_LINGER, {l_onoff=1, l_linger=0}"],
    ],
    symptoms: [
      "ECONNRESET from read()",
      "the end of an answer is missing",
      "TcpExtTCPAbortOnData rises",
      "TcpEstabResets rises",
      "TcpOutRsts rises",
    ],
    fix: [
      "Close with end() and let the kernel finish; TIME_WAIT is 60 s of one port, not a leak.",
      "When you must reset (a load generator, a misbehaving peer): only after the peer has answered in full.",
      "Either end() or resetAndDestroy(): not the one just before the other.",
      "Say inside the data how long it is (Content-Length, frames): an 'end' alone does not prove that all has come.",
      "Let the other side close first when ports are scarce, or reuse connections; see time-wait-exhaustion.",
    ],
    reports: ["libuv/libuv#1991", "envoyproxy/envoy#9753", "libuv/libuv#4992"],
  },
  arms: {
    broken,
    control,
    fixed: [resetAfterAnswer, serverCloses],
    myth: [endFirst],
  },
});
