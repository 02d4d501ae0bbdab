/**
 * multiplex: hundreds and thousands of connections on one thread, as long as there is a descriptor for each.
 *
 * An event loop asks epoll_wait(2) which connections have something to say and serves these. Threads do not grow with
 * connections; descriptors and memory do. The descriptor limit is therefore what breaks first, and on the connecting side
 * it is loud: connect() fails with EMFILE.
 *
 * WATCH   threads: the same number before and with all connections open
 * CAVEAT  client and server share two cores and one loopback: the latencies are those of a crowd that all speak at once
 * SEE     epoll(7); uv__io_poll() in libuv's src/unix/linux.c
 */
import { descriptorLimit, processStatus } from "../kernel/process.ts";
import { needTool } from "../kernel/tools.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import type { Exchanged, Opened } from "../protocol/crowd.ts";
import type { VisitsSummary } from "../protocol/visits.ts";

const MESSAGES = 3;
const SPARE_DESCRIPTORS = 64;
const THREADS = 64;

type Params = { readonly few: number; readonly many: number; readonly limit: number };

/** The part of `multiplex --json` that is used here. */
type Multiplex = {
  readonly opened: Opened;
  readonly exchanged: Exchanged;
  readonly client: Side;
  readonly server: Side;
};
type Side = Readonly<
  Record<"before" | "open", { readonly threads: number; readonly descriptors: number }>
>;

function growth(side: Side, of: "threads" | "descriptors"): number {
  return side.open[of] - side.before[of];
}

async function meet(bench: Bench, connections: number): Promise<void> {
  const { soft } = descriptorLimit();
  bench.need(
    soft >= connections + SPARE_DESCRIPTORS,
    `needs ${connections + SPARE_DESCRIPTORS} descriptors; the hard limit is ${soft} (ulimit -Hn)`,
  );
  const opened = bench.predict("connections open at once", connections);
  const answered = bench.predict(
    "messages answered",
    connections * MESSAGES,
    `${MESSAGES} on each connection`,
  );
  const clientThreads = bench.predict("threads more than before, client", 0);
  const serverThreads = bench.predict("threads more than before, server", 0);
  const descriptors = bench.predict(
    "descriptors more than before, server",
    connections,
    "one for each connection",
  );
  const handshakes = bench.predict(
    "handshakes counted by the kernel (TcpPassiveOpens)",
    connections,
  );
  const result = await bench.run<Multiplex>("multiplex", [
    "--connections",
    `${connections}`,
    "--messages",
    `${MESSAGES}`,
  ]);
  opened.measured(result.opened.open);
  answered.measured(result.exchanged.answered);
  clientThreads.measured(growth(result.client, "threads"));
  serverThreads.measured(growth(result.server, "threads"));
  descriptors.measured(growth(result.server, "descriptors"));
  handshakes.measured(bench.counted("TcpPassiveOpens"));
}

/** A client that wants more connections than it may have descriptors; `env` are words such as NAME=value. */
type Variation = {
  readonly env?: readonly string[];
  readonly host?: string;
  readonly look?: (pid: number) => void;
};

async function outOfDescriptors(
  bench: Bench,
  { few, limit }: Params,
  { env = [], host = "127.0.0.1", look }: Variation = {},
): Promise<void> {
  await bench.server();
  needTool("prlimit", "util-linux");
  const through = ["env", ...env, "prlimit", `--nofile=${limit}:${limit}`];
  const trial = bench.start("client", ["--host", host, "--leave", "abandon"], { through });
  await bench.until(
    () => bench.view().clients.ESTABLISHED,
    (count) => count === 1,
  );
  const room = (await bench.room(trial.pid, limit)) + 1;
  bench.need(few > room, `${few} connections under a limit of ${limit} show nothing`);
  look?.(trial.pid);
  const connected = bench.predict(
    `connections of ${few} under a limit of ${limit}`,
    room,
    `${limit} - ${limit - room} open before`,
  );
  const refused = bench.predict(
    "connect() = EMFILE",
    few - room,
    "the others: an error, where a server gets none",
  );
  const flags = ["--host", host, "--connections", `${few}`, "--hold-ms", "300"];
  const result = await bench.run<VisitsSummary>("client", flags, { through });
  connected.measured(result.connected);
  refused.measured(result.failures["EMFILE"]?.count ?? 0);
}

const broken = {
  about: "a descriptor limit below the number of connections: connect() fails, and says so",
  run: (bench: Bench, params: Params) => outOfDescriptors(bench, params),
};

const moreThreads = {
  about: `UV_THREADPOOL_SIZE=${THREADS}: threads enough, and not one connection more`,
  run: async (bench: Bench, params: Params) => {
    const threads = bench.predict(
      "threads of the client",
      atLeast(THREADS),
      "those of V8 come on top",
    );
    await outOfDescriptors(bench, params, {
      env: [`UV_THREADPOOL_SIZE=${THREADS}`],
      // A name has to be looked up, and that is what the threads are for: without such work libuv starts none.
      host: "localhost",
      look: (pid) => threads.measured(processStatus(pid).threads),
    });
  },
};

const control = {
  about: "the same limit, and one connection after the other",
  run: async (bench: Bench, { few, limit }: Params) => {
    needTool("prlimit", "util-linux");
    const answered = bench.predict(
      "messages answered",
      few * MESSAGES,
      `${MESSAGES} on each connection`,
    );
    const descriptors = bench.predict(
      "descriptors more than before, server",
      atMost(1),
      "the last connection may still be closing",
    );
    const handshakes = bench.predict("handshakes counted by the kernel (TcpPassiveOpens)", few);
    const flags = ["--turns", "--connections", `${few}`, "--messages", `${MESSAGES}`];
    const through = ["prlimit", `--nofile=${limit}:${limit}`];
    const result = await bench.run<Multiplex>("multiplex", flags, { through });
    answered.measured(result.exchanged.answered);
    descriptors.measured(growth(result.server, "descriptors"));
    handshakes.measured(bench.counted("TcpPassiveOpens"));
  },
};

export default defineLab({
  name: "multiplex",
  summary: "thousands of connections on one thread, as long as descriptors last",
  tags: ["descriptors"],
  params: {
    few: [500, "connections", [1, 20_000]],
    // One destination: more would run out of ports.
    many: [5000, "connections in the larger arm", [1, 28_000]],
    // With fewer Node does not start.
    limit: [256, "descriptor limit of the client in the broken arm", [64, 4_096]],
  },
  story: {
    see: "500 and then 5,000 connections are open at once and all are answered; the number of threads does not move.",
    why:
      "A thread for each connection would be blocked in read() nearly all the time. An event loop asks the kernel once, with epoll_wait() (libuv: epoll_pwait()), " +
      "which of all its descriptors are ready, and handles those. What grows with connections is memory and descriptors, so the limit " +
      "that is met first is the one on descriptors.",
    recognise: [
      ["grep Threads /proc/PID/status", "threads of a process"],
      ["ls /proc/PID/fd | wc -l", "its descriptors"],
      ["strace -c -f -p PID", "few epoll_pwait calls for many connections"],
    ],
    symptoms: ["EMFILE from connect()"],
    fix: [
      "A descriptor limit above the number of connections, on both sides: ulimit -n, LimitNOFILE=, --ulimit nofile=.",
      "More than about 28,000 connections to one address and port need a wider net.ipv4.ip_local_port_range, of up to 64,512 ports, and beyond that more client addresses or more destinations: ports run out before memory does.",
    ],
    reports: ["grafana/k6#2006", "sockjs/sockjs-node#94"],
  },
  arms: {
    broken,
    control,
    fixed: [
      {
        about: "one event loop, hundreds of connections at once",
        run: (bench: Bench, { few }: Params) => meet(bench, few),
      },
      {
        about: "one event loop, thousands of connections at once",
        run: (bench: Bench, { many }: Params) => meet(bench, many),
      },
    ],
    myth: [moreThreads],
  },
});
