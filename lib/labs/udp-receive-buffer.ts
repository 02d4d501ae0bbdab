/**
 * udp-receive-buffer: a receiver that is busy for a moment loses datagrams, and the sender is told that all went well.
 *
 * UDP has no window. What arrives is put into the socket's receive buffer until that is full; the rest is thrown away and
 * counted, at the receiver only. TCP under the same conditions stops the sender and loses nothing.
 *
 * WATCH   UdpRcvbufErrors (with UdpInErrors); the drops column of /proc/net/udp
 * CAVEAT  the buffer is charged for each datagram's whole memory: a small one costs several times its bytes
 * SEE     __udp_enqueue_schedule_skb() in net/ipv4/udp.c; SO_RCVBUF in socket(7), which doubles what is asked for
 */
import { createSocket, type Socket, type SocketOptions } from "node:dgram";
import { readFileSync } from "node:fs";
import type { Bench } from "../lab/bench.ts";
import { atLeast, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, withSockets } from "../lab/network.ts";
import type { Script } from "../lab/program.ts";
import { failureOf } from "../protocol/errno.ts";

const PAYLOAD_BYTES = 100;
/** What the receivers ask for; the kernel gives twice as much, for its own bookkeeping. */
const SMALL_RCVBUF = 65_536;
/** The least net.core.rmem_max of any distribution: more may be cut down. */
const LARGE_BUFFER = 212_992;
const WINDOW = 31;
/** What the buffer is charged for such a datagram, its record included: 832 bytes on 6.18, others elsewhere. */
const LEAST_COST_BYTES = 512;
const MOST_COST_BYTES = 1_280;
const TCP_BUFFER_BYTES = 65_536;
const UPLOAD_BYTES = 1_048_576;

type Params = { readonly datagrams: number };

/** Counts datagrams and answers each; tells its port at the start and the count at its end. */
const RECEIVER = `
const recvBufferSize = Number(process.argv[1]);
const socket = require("node:dgram").createSocket({ type: "udp4", recvBufferSize });
let count = 0;
socket.on("message", (message, { port }) => { count += 1; socket.send("ok", port, "127.0.0.1"); });
process.on("SIGTERM", () => { console.log(count); process.exit(); });
socket.bind(0, "127.0.0.1", () => console.log(socket.address().port));
`;

type Receiver = { readonly script: Script; readonly port: number };

async function startReceiver(bench: Bench, bufferBytes: number): Promise<Receiver> {
  const node = [process.execPath, "-e", RECEIVER, `${bufferBytes}`];
  const script = await bench.script("receiver", node);
  return { script, port: Number(script.first) };
}

/** The receiver's row of /proc/net/udp: bytes that wait, and datagrams that were thrown away. */
function udpRow(port: number): { waiting: number; drops: number } {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const line = readFileSync("/proc/net/udp", "latin1")
    .split("\n")
    .find((row) => row.trim().split(/\s+/)[1]?.endsWith(hex));
  const words = line?.trim().split(/\s+/) ?? [];
  return {
    waiting: Number.parseInt(words[4]?.split(":")[1] ?? "0", 16),
    drops: Number(words.at(-1)),
  };
}

/** A receiver that is stopped when the datagrams come, and a sender. */
async function withReceiver(
  bench: Bench,
  { bufferBytes, ...options }: { readonly bufferBytes: number } & Partial<SocketOptions>,
  work: (receiver: Receiver, sender: Socket) => Promise<void>,
): Promise<void> {
  const receiver = await startReceiver(bench, bufferBytes);
  const sender = createSocket({ type: "udp4", ...options });
  try {
    await bench.suspend(receiver.script.pid);
    await work(receiver, sender);
  } finally {
    sender.close();
    receiver.script.kill("SIGKILL");
  }
}

/** Sends one datagram; resolves to the error's name, or `none`. */
function send(sender: Socket, port: number): Promise<string> {
  return new Promise((resolve) => {
    sender.send(Buffer.alloc(PAYLOAD_BYTES), port, "127.0.0.1", (error) => {
      resolve(error == null ? "none" : failureOf(error).errno);
    });
  });
}

async function sendAll(sender: Socket, port: number, count: number): Promise<number> {
  const results = await Promise.all(Array.from({ length: count }, () => send(sender, port)));
  return results.filter((errno) => errno === "none").length;
}

/** Lets the receiver go on, and asks it how many datagrams it got. */
async function received(bench: Bench, { script, port }: Receiver): Promise<number> {
  script.kill("SIGCONT");
  const waiting = (): number => udpRow(port).waiting;
  await bench.until(waiting, (bytes) => bytes === 0);
  script.kill("SIGTERM");
  return Number(await script.next());
}

/** A burst meets a receiver that is busy. */
async function burst(
  bench: Bench,
  { datagrams }: Params,
  options: { readonly bufferBytes: number; readonly sendBufferSize?: number },
  look: (sender: Socket) => void = () => undefined,
): Promise<void> {
  const buffer = 2 * options.bufferBytes;
  const [least, most] = [MOST_COST_BYTES, LEAST_COST_BYTES].map((cost) =>
    Math.min(datagrams, Math.floor(buffer / cost)),
  ) as [number, number];
  const allFit = least === datagrams;
  const sent = bench.predict("send() without an error", datagrams, "the sender is not told");
  const got = bench.predict(
    "datagrams that the program gets",
    allFit ? datagrams : between(least, most),
    allFit ? "all fit" : `${buffer} bytes, at ${LEAST_COST_BYTES} to ${MOST_COST_BYTES} each`,
  );
  const errors = bench.predict(
    "thrown away (UdpRcvbufErrors)",
    allFit ? 0 : atLeast(datagrams - most),
  );
  const sum = bench.predict("both together", datagrams, "each one is somewhere");
  const same = bench.predict("drops in /proc/net/udp, less these", 0, "the same, per socket");
  await withReceiver(bench, options, async (receiver, sender) => {
    sent.measured(await sendAll(sender, receiver.port, datagrams));
    look(sender);
    const { drops } = udpRow(receiver.port);
    const thrown = bench.counted("UdpRcvbufErrors");
    const count = await received(bench, receiver);
    got.measured(count);
    errors.measured(thrown);
    sum.measured(count + thrown);
    same.measured(drops - thrown);
  });
}

const broken = {
  about: "a receiver that is busy while a burst arrives: what does not fit is gone",
  run: (bench: Bench, params: Params) => {
    bench.say(
      `${params.datagrams} datagrams of ${PAYLOAD_BYTES} bytes; the receiver is stopped, SO_RCVBUF is ${SMALL_RCVBUF}.`,
    );
    return burst(bench, params, { bufferBytes: SMALL_RCVBUF });
  },
};

/** Bytes of a connection that are in the kernels' buffers, at either end. */
function inKernels(bench: Bench, port: number): number {
  const sent = rows(bench, "client", "ESTABLISHED", port)[0]?.sendQ ?? 0;
  return sent + (rows(bench, "server", "ESTABLISHED", port)[0]?.recvQ ?? 0);
}

const control = {
  about: "TCP instead: the receiver is just as busy, the sender has to wait, nothing is lost",
  run: (bench: Bench) =>
    withSockets(async (own) => {
      bench.sysctl("net.ipv4.tcp_wmem", `4096 ${TCP_BUFFER_BYTES} ${TCP_BUFFER_BYTES}`);
      bench.sysctl("net.ipv4.tcp_rmem", `4096 ${TCP_BUFFER_BYTES} ${TCP_BUFFER_BYTES}`);
      const { port, pid } = await bench.server();
      const line = await own.dial({ port });
      const isAccepted = (): number => rows(bench, "server", "ESTABLISHED", port).length;
      await bench.until(isAccepted, (count) => count === 1);
      await bench.suspend(pid);
      try {
        const held = bench.predict(
          "bytes in Send-Q and Recv-Q",
          between(1, 6 * TCP_BUFFER_BYTES),
          `of ${UPLOAD_BYTES}: the program keeps the rest`,
        );
        const answer = bench.predict("write() says: wait", "yes", "it returns false");
        const windows = bench.predict("window closed (TCPToZeroWindowAdv)", atLeast(1));
        const lost = bench.predict("thrown away (UdpRcvbufErrors)", 0);
        const echoed = bench.predict("bytes echoed in the end", UPLOAD_BYTES);
        answer.measured(line.socket.write(Buffer.alloc(UPLOAD_BYTES)) ? "no" : "yes");
        const isClosed = (): number => bench.counted("TcpExtTCPToZeroWindowAdv");
        windows.measured(await bench.until(isClosed, (count) => count > 0));
        held.measured(inKernels(bench, port));
        process.kill(pid, "SIGCONT");
        const bytes = (): number => line.bytes;
        echoed.measured(await bench.until(bytes, (count) => count === UPLOAD_BYTES));
        lost.measured(bench.counted("UdpRcvbufErrors"));
      } finally {
        process.kill(pid, "SIGCONT"); // A stopped process does not end.
      }
    }),
};

const ownWindow = {
  about: `a window of one's own: never more than ${WINDOW} datagrams without an answer`,
  run: async (bench: Bench, { datagrams }: Params) => {
    const got = bench.predict("datagrams that the program gets", datagrams);
    const waiting = bench.predict("sent while the receiver is busy", WINDOW, "then we wait");
    const errors = bench.predict("thrown away (UdpRcvbufErrors)", 0);
    await withReceiver(bench, { bufferBytes: SMALL_RCVBUF }, async (receiver, sender) => {
      let [sent, answers] = [0, 0];
      const fillWindow = (): void => {
        for (; sent < datagrams && sent - answers < WINDOW; sent += 1)
          void send(sender, receiver.port);
      };
      sender.on("message", () => {
        answers += 1;
        fillWindow();
      });
      fillWindow();
      const hasCome = (): boolean => udpRow(receiver.port).waiting > 0;
      await bench.until(hasCome, (isSo) => isSo);
      waiting.measured(sent);
      receiver.script.kill("SIGCONT");
      const isAnswered = (): boolean => answers === datagrams;
      await bench.until(isAnswered, (isSo) => isSo);
      got.measured(await received(bench, receiver));
      errors.measured(bench.counted("UdpRcvbufErrors"));
    });
  },
};

const largerBuffer = {
  about: "a larger SO_RCVBUF: this burst fits, until a larger one comes",
  run: (bench: Bench, params: Params) => burst(bench, params, { bufferBytes: LARGE_BUFFER }),
};

const largerSendBuffer = {
  about: "a larger send buffer: the sender is not the one that lacks room",
  run: (bench: Bench, params: Params) => {
    const options = { bufferBytes: SMALL_RCVBUF, sendBufferSize: LARGE_BUFFER };
    const size = bench.predict("SO_SNDBUF of the sender", 2 * LARGE_BUFFER, "twice what it asks");
    return burst(bench, params, options, (sender) => size.measured(sender.getSendBufferSize()));
  },
};

export default defineLab({
  name: "udp-receive-buffer",
  summary: "UDP loses datagrams at a busy receiver and tells nobody; TCP makes the sender wait",
  tags: ["data"],
  params: {
    datagrams: [
      307,
      "datagrams in a burst: more than the small buffer holds, fewer than the large one",
      [257, 332],
    ],
  },
  story: {
    see: "307 datagrams are sent without an error, about half of them reach the program, the others are counted in UdpRcvbufErrors.",
    why:
      "A UDP socket has a receive buffer (net.core.rmem_default, 212,992 bytes) and no way to tell the sender that it is full. send() succeeds when the packet has left. A garbage " +
      "collection, a blocked event loop or a burst from many senders fills the buffer in milliseconds, sooner than its bytes suggest: a datagram of 100 bytes is charged for " +
      "832, the memory that it occupies. DNS, syslog, statsd, games and video lose data in this way without anybody noticing. TCP answers the same situation with a " +
      "closed window: write() in the sender's program has to wait, and nothing is lost, at the price of delay.",
    recognise: [
      [
        "nstat -az UdpRcvbufErrors UdpInErrors UdpInDatagrams",
        "at the receiver: what was thrown away, and what was read",
      ],
      ["awk '{print $2, $5, $NF}' /proc/net/udp", "for each socket: address, bytes waiting, drops"],
      ["ss -uanm", "rb: size of the buffer, r: in use, d: drops"],
      ["netstat -su", "receive buffer errors"],
    ],
    symptoms: [
      "UdpRcvbufErrors rises",
      "drops in /proc/net/udp",
      "gaps in sequence numbers although no link loses packets",
      "lost statsd or syslog messages under load",
    ],
    fix: [
      "Flow control in the protocol: a window, answers, repetitions; or a protocol that has them (TCP, QUIC).",
      "A larger SO_RCVBUF (in Node recvBufferSize) with net.core.rmem_max to allow it: it is cut down silently otherwise.",
      "Read sooner and in batches: do not block the event loop, recvmmsg(), several sockets with SO_REUSEPORT.",
    ],
    reports: [
      "netdata/netdata#4086",
      "netdata/netdata#6527",
      "grobian/carbon-c-relay#270",
      "oracle/bpftune#167",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [ownWindow, largerBuffer],
    myth: [largerSendBuffer],
  },
});
