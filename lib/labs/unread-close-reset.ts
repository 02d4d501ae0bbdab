/**
 * unread-close-reset: close() on a socket with unread data does not send a FIN but a RST.
 *
 * A FIN says: I have sent everything. It does not say that everything was received, so RFC 2525 (section 2.17) asks for a RST when
 * a program closes before it has read what the peer sent. The classic case: a server refuses an upload with an answer
 * and closes. The RST overtakes the client's program, which then reports "connection reset" instead of the answer, or both.
 *
 * WATCH   TCPAbortOnClose and TcpOutRsts; no TIME_WAIT on either side
 * CAVEAT  on Linux an answer that has arrived can still be read; other systems throw it away with the connection
 * SEE     __tcp_close() in net/ipv4/tcp.c; RFC 2525 section 2.17; RFC 9112 section 9.6 (lingering close)
 */
import type { Bench } from "../lab/bench.ts";
import { between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import {
  countErrno,
  rows,
  settled,
  withSockets,
  type Line,
  type OwnSockets,
} from "../lab/network.ts";

const ANSWER = "413 too large";

type Params = { readonly clients: number; readonly kib: number };

/** Uploads that have reached the server's kernel, and that its program has not touched. */
type Scene = {
  readonly port: number;
  readonly server: readonly Line[];
  readonly clients: readonly Line[];
};

async function upload(bench: Bench, own: OwnSockets, { clients, kib }: Params): Promise<Scene> {
  const { port, lines: server } = await own.listen({ pauseOnConnect: true, allowHalfOpen: true });
  const lines = await own.dialAll(clients, { port });
  const body = Buffer.alloc(kib * 1024);
  for (const { socket } of lines) socket.write(body);
  await bench.until(
    () => rows(bench, "server", "ESTABLISHED", port).filter(({ recvQ = 0 }) => recvQ > 0).length,
    (unread) => unread === clients,
  );
  return { port, server, clients: lines };
}

/** Waits until the clients' connections are over. */
async function over(bench: Bench, { clients }: Scene): Promise<void> {
  await bench.until(
    () => clients.every(({ isClosed }) => isClosed),
    (isOver) => isOver,
  );
}

/** The server closes with unread data: what the kernel makes of it, and what the clients see. */
async function closesUnread(
  bench: Bench,
  { errno, ...params }: Params & { errno: string },
  refuse: (line: Line) => void,
): Promise<void> {
  await withSockets(async (own) => {
    const { clients } = params;
    const aborts = bench.predict("closed with data unread", clients, "TCPAbortOnClose");
    const resets = bench.predict(
      "RSTs sent (TcpOutRsts)",
      between(clients, 9 * clients),
      "one for each close, more for segments that were on their way",
    );
    const timeWait = bench.predict("TIME_WAIT, either side", 0, "a RST ends it for both");
    const errors = bench.predict(`clients that see ${errno}`, clients, "on write()");
    const seen = await upload(bench, own, params);
    for (const line of seen.server) refuse(line);
    await over(bench, seen);
    aborts.measured(bench.counted("TcpExtTCPAbortOnClose"));
    resets.measured(bench.counted("TcpOutRsts"));
    const both = ["server", "client"] as const;
    const waits = both.map((side) => rows(bench, side, "TIME_WAIT", seen.port).length);
    timeWait.measured(Math.max(...waits));
    errors.measured(countErrno(seen.clients, errno));
  });
}

/** The server reads all of it, whether it wants it or not. */
async function closesRead(
  bench: Bench,
  params: Params,
  refuse: (line: Line) => void,
): Promise<void> {
  await withSockets(async (own) => {
    const { clients } = params;
    const aborts = bench.predict("closed with data unread", 0, "TCPAbortOnClose");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", 0);
    const timeWait = bench.predict("TIME_WAIT, server's side", clients, "it sends the first FIN");
    const answers = bench.predict("clients that got the answer", clients);
    const errors = bench.predict("clients that see an error", 0);
    const seen = await upload(bench, own, params);
    for (const line of seen.server) {
      refuse(line);
      line.socket.resume();
    }
    await over(bench, seen);
    timeWait.measured(await settled(bench, clients, ["server", "TIME_WAIT", seen.port]));
    aborts.measured(bench.counted("TcpExtTCPAbortOnClose"));
    resets.measured(bench.counted("TcpOutRsts"));
    answers.measured(seen.clients.filter(({ bytes }) => bytes === ANSWER.length).length);
    errors.measured(seen.clients.length - countErrno(seen.clients, "none"));
  });
}

const broken = {
  about: "the server answers an upload that it has not read, and closes: RST",
  run: async (bench: Bench, params: Params) => {
    bench.say(
      `${params.clients} clients upload ${params.kib} KiB each; the server answers "${ANSWER}" and closes.`,
    );
    const order = { ...params, errno: "ECONNRESET" };
    await closesUnread(bench, order, ({ socket }) => socket.write(ANSWER, () => socket.destroy()));
  },
};

const control = {
  about: "the server reads the whole upload, then answers and closes",
  run: (bench: Bench, params: Params) =>
    closesRead(bench, params, (line) => {
      const total = params.kib * 1024;
      line.socket.on("data", () => {
        if (line.bytes === total) line.socket.end(ANSWER);
      });
    }),
};

const lingering = {
  about: "lingering close: answer, FIN, and throw away what still comes until the client's FIN",
  run: (bench: Bench, params: Params) =>
    closesRead(bench, params, ({ socket }) => socket.end(ANSWER)),
};

const endFirst = {
  about: "end() first and destroy() when it has finished: the unread data is still unread",
  run: (bench: Bench, params: Params) =>
    // The kernel says EPIPE when a FIN came before the RST.
    closesUnread(bench, { ...params, errno: "EPIPE" }, ({ socket }) =>
      socket.end(ANSWER, () => socket.destroy()),
    ),
};

export default defineLab({
  name: "unread-close-reset",
  summary: "closing with unread data sends a RST instead of a FIN",
  tags: ["closing"],
  params: {
    clients: [7, "uploads at the same time"],
    kib: [16384, "KiB of each; more than both kernels can queue", [12_288, 65_536]],
  },
  story: {
    see: "The server closes in good order, and yet every client gets ECONNRESET while it writes; neither side is in TIME_WAIT.",
    why:
      "close() with data in the receive queue means that the program will never read what the peer believes delivered. The kernel " +
      "must not hide that behind a FIN, so it sends a RST at once and forgets the connection. At the client the RST arrives together with " +
      "the answer: its next write fails with ECONNRESET (EPIPE when a FIN came before the RST), and whether the program looks at the answer first is a matter of luck. " +
      "A client that had already written everything may see no error at all in Node, only 'end'.",
    recognise: [
      ["nstat -az TcpExtTCPAbortOnClose TcpOutRsts", "closes with unread data, and RSTs in all"],
      [
        "ss -tn state established '( sport = :PORT )'",
        "Recv-Q above 0 on the server: a close now would reset",
      ],
      [
        "tcpdump -ni any 'tcp port PORT and tcp[tcpflags] & tcp-rst != 0'",
        "who sends the RST: the side that closed",
      ],
    ],
    symptoms: [
      "ECONNRESET from read()",
      "the end of an answer is missing",
      "TcpExtTCPAbortOnClose rises",
    ],
    fix: [
      "Lingering close: end(), then resume() and throw the rest away until the peer's FIN, with a time and a size limit.",
      "HTTP: answer 413 or 401 early, but go on reading for a while; clients can ask first with Expect: 100-continue.",
      "In a client: when a write fails, look whether an answer has arrived before reporting the error.",
    ],
    reports: ["dotnet/runtime#44764", "oven-sh/bun#39860", "dotnet/runtime#57186"],
  },
  arms: { broken, control, fixed: [lingering], myth: [endFirst] },
});
