/**
 * zero-window: the reader has stopped, and the memory of a sender that does not look grows without end.
 *
 * A receiver tells with every ACK how much room it has. When its program does not read, that falls to zero, and the sender's
 * kernel may only ask now and then whether there is room again (the persist timer). The own send queue fills, and from then on
 * every write() of a Node program is kept in its own memory. write() returns false to say so; who ignores that, runs out of it.
 *
 * WATCH   Send-Q that stands still with timer persist; writableLength that grows
 * CAVEAT  how much both kernels take depends on tcp_rmem and tcp_wmem: it is measured, and only bounded beforehand
 * SEE     tcp_send_probe0() in net/ipv4/tcp_output.c; RFC 9293 section 3.8.6.1; "Backpressuring in Streams" at nodejs.org
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const CHUNK_BYTES = 64 * 1024;
const STALLED_MS = 400;
const PROBES = 2;

type Params = { readonly mib: number };

/** A connection whose server does not read, or reads everything. */
async function connected(
  own: OwnSockets,
  reads: boolean,
): Promise<{ port: number; line: Line; server: Line }> {
  const { port, lines } = await own.listen({ pauseOnConnect: !reads });
  const line = await own.dial({ port });
  return { port, line, server: lines[0] ?? line };
}

/** Each with something in it: what was never written to takes no memory yet. */
function chunks(mib: number): readonly Buffer[] {
  const length = (mib * 1024 * 1024) / CHUNK_BYTES;
  return Array.from({ length }, () => Buffer.alloc(CHUNK_BYTES, "hello, TCP"));
}

/** Bytes that wait in the kernel for this connection: the client's Send-Q and the server's Recv-Q. */
function inKernel(bench: Bench, port: number): number {
  const ours = rows(bench, "client", "ESTABLISHED", port).map(({ sendQ = 0 }) => sendQ);
  const theirs = rows(bench, "server", "ESTABLISHED", port).map(({ recvQ = 0 }) => recvQ);
  return [...ours, ...theirs].reduce((sum, bytes) => sum + bytes, 0);
}

/** The connection's timer at the client: `persist` while the window is closed. */
function clientTimer(bench: Bench, port: number): string {
  return rows(bench, "client", "ESTABLISHED", port)[0]?.timer?.name ?? "none";
}

const broken = {
  about: "the server never reads, the client ignores what write() returns: its memory grows",
  run: async (bench: Bench, { mib }: Params) => {
    const total = mib * 1024 * 1024;
    bench.say(`The client writes ${mib} MiB in chunks of 64 KiB; the server does not read.`);
    await withSockets(async (own) => {
      const answers = bench.predict(
        "write() that returned false",
        atLeast(total / CHUNK_BYTES / 2),
        "all but those that both kernels took",
      );
      const ours = bench.predict(
        "bytes left in Node's own queue",
        atLeast(total / 2),
        "both kernels together take a few MB",
      );
      const sum = bench.predict("bytes in the kernel and in Node", atLeast(total), "none is lost");
      const timer = bench.predict("timer of the connection", "persist");
      const advertised = bench.predict("window closed (TCPToZeroWindowAdv)", atLeast(1));
      const probes = bench.predict("probes (TcpExtTCPWinProbe)", atLeast(1), "200 ms, then slower");
      const { port, line } = await connected(own, false);
      answers.measured(chunks(mib).filter((chunk) => !line.socket.write(chunk)).length);
      const seen = await bench.until(
        () => bench.counted("TcpExtTCPWinProbe"),
        (count) => count >= 1,
      );
      ours.measured(line.socket.writableLength);
      sum.measured(line.socket.writableLength + inKernel(bench, port));
      timer.measured(clientTimer(bench, port));
      advertised.measured(bench.counted("TcpExtTCPToZeroWindowAdv"));
      probes.measured(seen);
    });
  },
};

const control = {
  about: "the same writes to a server that reads: everything arrives, nothing is left",
  run: async (bench: Bench, { mib }: Params) => {
    const total = mib * 1024 * 1024;
    await withSockets(async (own) => {
      const arrived = bench.predict("bytes that arrived", total);
      const left = bench.predict("bytes left in Node's own queue", 0);
      const kernel = bench.predict("bytes left in the kernel", 0);
      const { port, line, server } = await connected(own, true);
      for (const chunk of chunks(mib)) line.socket.write(chunk);
      await bench.until(
        () => server.bytes,
        (bytes) => bytes === total,
      );
      arrived.measured(server.bytes);
      left.measured(line.socket.writableLength);
      const queued = await bench.until(
        () => inKernel(bench, port),
        (bytes) => bytes === 0,
      );
      kernel.measured(queued);
    });
  },
};

const backpressure = {
  about: "heed write(): stop at false, go on at 'drain'",
  run: async (bench: Bench, { mib }: Params) => {
    await withSockets(async (own) => {
      const left = bench.predict("bytes left in Node's own queue", atMost(2 * CHUNK_BYTES));
      const held = bench.predict(
        "chunks not written yet",
        atLeast(1),
        "they wait where they come from",
      );
      const timer = bench.predict("timer of the connection", "persist", "the server still stalls");
      const { port, line } = await connected(own, false);
      const toWrite = [...chunks(mib)];
      const writeOn = (): void => {
        for (let chunk = toWrite.shift(); chunk !== undefined; chunk = toWrite.shift())
          if (!line.socket.write(chunk)) return;
      };
      line.socket.on("drain", writeOn);
      writeOn();
      const name = await bench.until(
        () => clientTimer(bench, port),
        (now) => now === "persist",
      );
      left.measured(line.socket.writableLength);
      held.measured(toWrite.length);
      timer.measured(name);
    });
  },
};

const writeTimeout = {
  about: "a timeout for writes without progress: reset, and the memory is free",
  run: async (bench: Bench, { mib }: Params) => {
    await withSockets(async (own) => {
      const given = bench.predict("clients that gave up", 1, `${STALLED_MS} ms without progress`);
      const rest = bench.predict("FIN_WAIT1, client's side", 0, "a close would leave it queued");
      const kernel = bench.predict("sockets left, client's side", 0);
      const aborts = bench.predict("closed by RST (TCPAbortOnData)", 1);
      const { port, line } = await connected(own, false);
      let gaveUp = 0;
      line.socket.setTimeout(STALLED_MS, () => {
        gaveUp += 1;
        line.socket.resetAndDestroy();
      });
      for (const chunk of chunks(mib)) line.socket.write(chunk);
      await bench.until(
        () => line.isClosed,
        (isClosed) => isClosed,
      );
      given.measured(gaveUp);
      rest.measured(await settled(bench, 0, ["client", "FIN_WAIT1", port]));
      kernel.measured(bench.sockets().filter(({ remote }) => remote.port === port).length);
      aborts.measured(bench.counted("TcpExtTCPAbortOnData"));
    });
  },
};

const retries = {
  about: "tcp_retries2=1: the peer's kernel answers every probe, so nobody gives up",
  run: async (bench: Bench, { mib }: Params) => {
    bench.sysctl("net.ipv4.tcp_retries2", 1);
    await withSockets(async (own) => {
      const probes = bench.predict("probes (TcpExtTCPWinProbe)", atLeast(PROBES), "all answered");
      const open = bench.predict("ESTABLISHED, client's side", 1);
      const aborts = bench.predict("given up (TCPAbortOnTimeout)", 0);
      const { port, line } = await connected(own, false);
      for (const chunk of chunks(mib)) line.socket.write(chunk);
      const seen = await bench.until(
        () => bench.counted("TcpExtTCPWinProbe"),
        (count) => count >= PROBES,
      );
      probes.measured(seen);
      open.measured(rows(bench, "client", "ESTABLISHED", port).length);
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    });
  },
};

export default defineLab({
  name: "zero-window",
  summary: "a reader that stops, and a sender whose memory grows instead",
  tags: ["data"],
  params: {
    mib: [24, "MiB that the client writes; several times what both kernels can queue", [12, 256]],
  },
  story: {
    see: "write() goes on without an error and returns false; most of the data stays in the sender's own memory, and Send-Q stands still.",
    why:
      "Flow control is the reader's: it announces how much it can take, and 0 means stop. The sender's kernel stops, keeps what it has in its send queue, " +
      "and asks from time to time. The program is told by write(): false means that the data was taken into Node's memory, because the " +
      "kernel takes no more. A program that goes on writing moves the peer's slowness into its own heap. No timeout ends it: the peer's kernel is " +
      "alive and answers every probe.",
    recognise: [
      ["ss -tano '( dport = :PORT )'", "Send-Q that does not change, timer:(persist,...)"],
      [
        "nstat -az TcpExtTCPToZeroWindowAdv TcpExtTCPWinProbe",
        "at the reader: closed windows; at the sender: probes",
      ],
      ["ss -tn state established | sort -k1 -nr | head", "Recv-Q: who does not read"],
      [
        "node inspect -p PID",
        "with exec process.memoryUsage().arrayBuffers: what waits in Node's own memory; writableLength of a socket is part of it. Port 9229 on 127.0.0.1 stays open for every user of the machine until inspector.close() or the end",
      ],
    ],
    symptoms: [
      "a sender whose memory grows",
      "Send-Q that stays full",
      "TcpExtTCPToZeroWindowAdv rises",
    ],
    fix: [
      "Heed write(): stop at false, go on at 'drain'. stream.pipeline() and for await do it for you.",
      "A limit per client and a timeout without progress; end it with resetAndDestroy(), or the kernel keeps the queue in FIN_WAIT1.",
      "Drop or merge what is outdated (ticks, positions) instead of queueing it for a slow reader.",
    ],
    reports: ["nodejs/node-v0.x-archive#6623", "nodejs/node#45382", "socketio/engine.io#420"],
  },
  arms: { broken, control, fixed: [backpressure, writeTimeout], myth: [retries] },
});
