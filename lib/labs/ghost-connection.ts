/**
 * ghost-connection: the client is connected, the server is not. What the client sends goes nowhere, and send() succeeds.
 *
 * The client is in ESTABLISHED as soon as the SYN-ACK arrives. The server needs the client's ACK, and a free place in the accept
 * queue at that moment. If there is none the kernel drops the ACK and stays in SYN_RECV; it repeats the SYN-ACK a few times
 * and then forgets the connection. Nobody tells the client.
 *
 * WATCH   ESTABLISHED on one side, SYN_RECV on the other; ListenOverflows that grow with every segment of such clients
 * CAVEAT  on loopback SYN and ACK are a few microseconds apart, so the lab withholds the ACK until the queue is full
 * NEEDS   nft
 * SEE     tcp_check_req() in net/ipv4/tcp_minisocks.c, tcp_v4_syn_recv_sock() and its exit_overflow; tcp(7)
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import {
  countErrno,
  rows,
  settled,
  withSockets,
  type Line,
  type OwnSockets,
} from "../lab/network.ts";

/** The ACKs of clients with this address are late. */
const FAR = "127.0.0.2";
const SMALL_BACKLOG = 5;
const LARGE_BACKLOG = 128;
const GHOSTS = 3;
const HELLO = "hello, TCP";
const PATIENCE_MS = 500;

/** Clients that believe that they are connected, and the way to wake the server up. */
type Scene = { readonly port: number; readonly ghosts: readonly Line[]; readonly wake: () => void };

/** A server that has stopped accepting, a few clients whose last ACK is late, and others who take the places meanwhile. */
async function lateAcks(
  bench: Bench,
  own: OwnSockets,
  { backlog, others }: { readonly backlog: number; readonly others: number },
): Promise<Scene> {
  const { port, pid } = await bench.server(["--backlog", `${backlog}`]);
  await bench.suspend(pid);
  thisHost(bench).filter("input", [
    `ip saddr ${FAR} tcp dport ${port} tcp flags & (syn | ack) == ack drop`,
  ]);
  const ghosts = await own.dialAll(GHOSTS, { port, localAddress: FAR });
  await own.dialAll(others, { port, localAddress: "127.0.0.1" });
  await bench.until(
    () => bench.view().queued,
    (queued) => queued === others,
  );
  return { port, ghosts, wake: () => process.kill(pid, "SIGCONT") };
}

/** Lets the late ACKs through, each with the client's first request. Resolves to how many write() callbacks had no error. */
async function speak(bench: Bench, { ghosts }: Scene): Promise<number> {
  thisHost(bench).filter("input", []);
  const callbacks = ghosts.map(
    ({ socket }) =>
      new Promise<boolean>((resolve) => socket.write(HELLO, (error) => resolve(error == null))),
  );
  return (await Promise.all(callbacks)).filter((isFine) => isFine).length;
}

/** The far clients' rows on the server's side that are in `state`. */
function farSide(bench: Bench, state: "SYN_RECV" | "ESTABLISHED", port: number): number {
  return rows(bench, "server", state, port).filter(({ remote }) => remote.address === FAR).length;
}

async function withScene(
  bench: Bench,
  size: { readonly backlog: number; readonly others: number },
  work: (scene: Scene) => Promise<void>,
): Promise<void> {
  await withSockets(async (own) => {
    const scene = await lateAcks(bench, own, size);
    try {
      await work(scene);
    } finally {
      scene.wake(); // A stopped process does not end.
    }
  });
}

/** What holds for these clients in every arm, measured up to the moment when they speak. */
function predictions(bench: Bench): (scene: Scene) => Promise<void> {
  const connected = bench.predict("ESTABLISHED, client's side", GHOSTS);
  const handshakes = bench.predict("SYN_RECV, server's side", GHOSTS, "their ACKs are late");
  const written = bench.predict("write() callbacks without an error", GHOSTS, "the kernel has it");
  return async (scene) => {
    const far = rows(bench, "client", "ESTABLISHED", scene.port);
    connected.measured(far.filter(({ local }) => local.address === FAR).length);
    handshakes.measured(farSide(bench, "SYN_RECV", scene.port));
    written.measured(await speak(bench, scene));
  };
}

/** The accept queue is full when the late ACKs come; `more` tells what becomes of the clients. */
async function meetFullQueue(bench: Bench, more: (scene: Scene) => Promise<void>): Promise<void> {
  const others = SMALL_BACKLOG + 1;
  bench.say(
    `The server has stopped. ${GHOSTS} clients have their SYN-ACK; before their ACK arrives ${others} others fill the accept queue.`,
  );
  const measure = predictions(bench);
  const dropped = bench.predict(
    "ACKs dropped (ListenOverflows)",
    atLeast(GHOSTS),
    "one each; each repetition counts again",
  );
  await withScene(bench, { backlog: SMALL_BACKLOG, others }, async (scene) => {
    await measure(scene);
    const overflows = (): number => bench.counted("TcpExtListenOverflows");
    dropped.measured(await bench.until(overflows, (count) => count >= GHOSTS));
    await more(scene);
  });
}

/** Waits until `count` of the clients have been told ECONNRESET. */
function reset({ ghosts }: Scene, bench: Bench): Promise<number> {
  return bench.until(
    () => countErrno(ghosts, "ECONNRESET"),
    (count) => count === GHOSTS,
  );
}

const broken = {
  about: "the accept queue is full when the ACK arrives: the client writes into a void",
  run: async (bench: Bench) => {
    bench.sysctl("net.ipv4.tcp_synack_retries", 0);
    const silent = bench.predict("RSTs sent while SYN_RECV lasts", 0);
    const gone = bench.predict("SYN_RECV later", 0, "given up after 1 s; by default after 63 s");
    const errno = bench.predict("then clients: read() = ECONNRESET", GHOSTS);
    const resets = bench.predict(
      "RSTs sent (TcpOutRsts)",
      GHOSTS,
      "for repeated data of connections that nobody knows",
    );
    await meetFullQueue(bench, async (scene) => {
      silent.measured(bench.counted("TcpOutRsts"));
      gone.measured(
        await bench.until(
          () => farSide(bench, "SYN_RECV", scene.port),
          (count) => count === 0,
        ),
      );
      errno.measured(await reset(scene, bench));
      resets.measured(bench.counted("TcpOutRsts"));
    });
  },
};

/** The same late ACKs meet a queue with room: the connection is whole with the first segment that gets through. */
async function letIn(bench: Bench, backlog: number, others: number): Promise<void> {
  bench.say(
    `The same late ACKs, but a queue for ${backlog + 1}: ${others} others are in it when they come.`,
  );
  const measure = predictions(bench);
  const inside = bench.predict("ESTABLISHED then, server's side", GHOSTS);
  const dropped = bench.predict("ACKs dropped (ListenOverflows)", 0);
  const echoes = bench.predict("clients answered", GHOSTS, "as soon as the server accepts");
  await withScene(bench, { backlog, others }, async (scene) => {
    await measure(scene);
    inside.measured(
      await bench.until(
        () => farSide(bench, "ESTABLISHED", scene.port),
        (count) => count === GHOSTS,
      ),
    );
    scene.wake();
    echoes.measured(await answers(bench, scene));
    dropped.measured(bench.counted("TcpExtListenOverflows"));
  });
}

function answers(bench: Bench, { ghosts }: Scene, deadlineMs = 2_000): Promise<number> {
  return bench.until(
    () => ghosts.filter(({ bytes }) => bytes === HELLO.length).length,
    (count) => count === GHOSTS,
    deadlineMs,
  );
}

const control = {
  about: "the ACKs are just as late, but there is room: the first data completes the handshake",
  run: (bench: Bench) => letIn(bench, SMALL_BACKLOG, SMALL_BACKLOG + 1 - GHOSTS),
};

const abortOnOverflow = {
  about: "tcp_abort_on_overflow=1: a RST instead of silence, and the client knows at once",
  run: async (bench: Bench) => {
    bench.sysctl("net.ipv4.tcp_abort_on_overflow", 1);
    const errno = bench.predict("clients: read() = ECONNRESET", GHOSTS);
    const embryos = bench.predict("handshakes reset (EmbryonicRsts)", GHOSTS);
    const left = bench.predict("SYN_RECV afterwards", 0);
    await meetFullQueue(bench, async (scene) => {
      errno.measured(await reset(scene, bench));
      embryos.measured(bench.counted("TcpExtEmbryonicRsts"));
      left.measured(await settled(bench, 0, ["server", "SYN_RECV", scene.port]));
    });
  },
};

const largerBacklog = {
  about: "a backlog for all of them: nobody is dropped, they only wait",
  run: (bench: Bench) => letIn(bench, LARGE_BACKLOG, SMALL_BACKLOG + 1),
};

const wokenInTime = {
  about: "a server that accepts again in time: the kernels repeat themselves, and all are served",
  run: async (bench: Bench) => {
    const echoes = bench.predict("clients answered", GHOSTS, "slower, by a repetition or two");
    const errors = bench.predict("clients that see an error", 0);
    await meetFullQueue(bench, async (scene) => {
      scene.wake();
      echoes.measured(await answers(bench, scene, 5_000));
      errors.measured(GHOSTS - countErrno(scene.ghosts, "none"));
    });
  },
};

const portCheck = {
  about: "a port check: connect() succeeds, so the service is reported as healthy",
  run: async (bench: Bench) => {
    const healthy = bench.predict("checks that call it healthy", GHOSTS, "connect() = 0");
    const echoes = bench.predict("requests answered", 0, `in ${PATIENCE_MS} ms`);
    await meetFullQueue(bench, async (scene) => {
      healthy.measured(countErrno(scene.ghosts, "none"));
      echoes.measured(await answers(bench, scene, PATIENCE_MS));
    });
  },
};

export default defineLab({
  name: "ghost-connection",
  summary: "connected at the client, unknown to the server: writes succeed into a void",
  tags: ["queues", "handshakes"],
  params: {},
  story: {
    see: "Three clients are in ESTABLISHED and write without an error. The server has them in SYN_RECV, drops what they send, and forgets them.",
    why:
      "A handshake has three segments, and the two sides are done at different moments: the client with the second, the server with the third. The server's kernel " +
      "can only finish when the accept queue has room. A burst passes the check at the SYN, all together, and then finds the queue full at the ACK. Linux drops that " +
      "ACK and hopes for a repetition: of its own SYN-ACK (after 1, 3, 7, 15, 31 s) or of the client's data. If nobody calls accept() until all are used up, the record goes, " +
      "and the client is alone with its connection. Its next segment is answered with a RST; if it only waits to be spoken to, it waits for ever.",
    recognise: [
      ["ss -tan state syn-recv", "at the server: rows that ought to be long over"],
      ["ss -tln", "Recv-Q above Send-Q: the accept queue is full"],
      [
        "nstat -az TcpExtListenOverflows TcpExtListenDrops",
        "both grow with each ACK and each piece of data that was dropped",
      ],
      [
        "ss -tano state established",
        "at the client: Send-Q above 0, timer:(on,...) with repetitions",
      ],
    ],
    symptoms: [
      "ESTABLISHED at the client, SYN_RECV at the server",
      "ECONNRESET after a connect() and a write() that succeeded",
      "TcpExtListenOverflows and TcpExtListenDrops rise",
      "requests without an answer, on a connection that looks healthy",
    ],
    fix: [
      "Keep the accept queue from filling: accept sooner, a larger backlog, a larger somaxconn (see accept-queue-overflow).",
      "Time-outs for the answer, not only for connect(): in Node socket.setTimeout().",
      "tcp_abort_on_overflow=1 where clients retry quickly and elsewhere: an error at once instead of a wait. It turns bursts into errors, too.",
      "Health checks that ask a question and wait for the answer.",
    ],
    needs: ["nft (package nftables), to lose packets"],
    reports: ["tokio-rs/tokio#383", "cloudius-systems/osv#283"],
  },
  arms: {
    broken,
    control,
    fixed: [abortOnOverflow, largerBacklog, wokenInTime],
    myth: [portCheck],
  },
});
