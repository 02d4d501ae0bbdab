/**
 * ulimit: how many connections a server can hold is its descriptor limit less what it has open already.
 *
 * Node raises its soft limit to the hard one when it starts, so `ulimit -Sn` does not limit it. A limit lowered later, from
 * outside, does; and one raised from outside works at once, without a restart.
 *
 * WATCH   the ceiling moves with the limit, descriptor by descriptor
 * CAVEAT  the descriptors that Node has open itself differ from version to version: they are counted, not assumed
 * SEE     getrlimit(2), prlimit(1); PlatformInit() in Node's src/node.cc
 */
import { descriptorLimit, setDescriptorLimit } from "../kernel/process.ts";
import { needTool } from "../kernel/tools.ts";
import type { Bench, RunningServer } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { settled, withSockets } from "../lab/network.ts";

const SWEEP = [64, 128, 256, 512];
const HELLO = "hello";
const BEYOND = 23;
/** More than Node has open itself: what the upper limit has to have room for beside as many clients as the lower one allows. */
const APART = 48;

type Params = { readonly soft: number; readonly hard: number };

function limits(soft: number, hard: number): readonly string[] {
  needTool("prlimit", "util-linux");
  return ["prlimit", `--nofile=${soft}:${hard}`];
}

/** Tells its soft limit in the first line of stderr, and becomes the program behind it. */
const TELLS_SOFT_LIMIT = ["sh", "-c", 'ulimit -Sn >&2; exec "$@"', "sh"];

function needApart(bench: Bench, { soft, hard }: Params): void {
  bench.need(hard >= soft + APART, `needs an upper limit of at least ${soft + APART}, not ${hard}`);
}

/**
 * Clients that connect, say hello, and stay until each of them has its answer or was cut off: nobody makes room for another by
 * leaving sooner. Returns how many were answered, when the server has let go of them.
 */
async function crowd(bench: Bench, count: number, port: number): Promise<number> {
  let answered = 0;
  await withSockets(async (own) => {
    const lines = await own.dialAll(count, { port });
    for (const { socket } of lines) socket.write(HELLO);
    const isToldAll = (): boolean => lines.every(({ bytes, isClosed }) => bytes > 0 || isClosed);
    await bench.until(isToldAll, (isSo) => isSo);
    answered = lines.filter(({ bytes }) => bytes > 0).length;
  });
  for (const state of ["ESTABLISHED", "CLOSE_WAIT"] as const)
    await settled(bench, 0, ["server", state, port]);
  return answered;
}

const broken = {
  about: "a sweep of hard limits: the ceiling is the limit less what is open already",
  run: async (bench: Bench) => {
    const servers = await Promise.all(SWEEP.map((limit) => limitedServer(bench, limit)));
    const held = servers.map(({ limit, room }) =>
      bench.predict(
        `connections held under a limit of ${limit}`,
        room,
        `${limit} - ${limit - room} open before`,
      ),
    );
    const shed = bench.predict(
      "clients cut off in silence",
      SWEEP.length * BEYOND,
      `${BEYOND} too many each`,
    );
    const answered = await Promise.all(
      servers.map(({ server, room }) => crowd(bench, room + BEYOND, server.port)),
    );
    const summaries = await Promise.all(servers.map(({ server }) => server.stop()));
    summaries.forEach(({ accepted }, index) => held[index]?.measured(accepted));
    const came = servers.map(({ room }) => room + BEYOND);
    shed.measured(sum(came) - sum(answered));
  },
};

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

type LimitedServer = {
  readonly limit: number;
  readonly server: RunningServer;
  readonly room: number;
};

async function limitedServer(bench: Bench, limit: number): Promise<LimitedServer> {
  const server = await bench.server([], { through: limits(limit, limit) });
  return { limit, server, room: await bench.room(server.pid, limit) };
}

const control = {
  about: "as many clients as fit: nobody is cut off",
  run: async (bench: Bench, { hard }: Params) => {
    const server = await bench.server([], { through: limits(hard, hard) });
    const ceiling = await bench.room(server.pid, hard);
    const effective = bench.predict("soft limit of the running server", hard);
    const served = bench.predict(
      "clients served",
      ceiling,
      `${hard} - what is open before: not one descriptor is left`,
    );
    const unseen = bench.predict("handshakes that the program never saw", 0);
    effective.measured(descriptorLimit(server.pid).soft);
    served.measured(await crowd(bench, ceiling, server.port));
    const { accepted } = await server.stop();
    unseen.measured(bench.counted("TcpPassiveOpens") - accepted);
  },
};

const raisedFromOutside = {
  about: "prlimit raises the limit of the running server: no restart",
  run: async (bench: Bench, { soft, hard }: Params) => {
    needApart(bench, { soft, hard });
    const server = await bench.server([], { through: limits(hard, hard) });
    await setDescriptorLimit(server.pid, { soft, hard });
    const ceiling = await bench.room(server.pid, soft);
    const clients = soft;
    bench.say(
      `Lowered to ${soft} from outside, for ${clients} clients; then raised to ${hard}, for ${clients} more.`,
    );
    const before = bench.predict("clients served before", ceiling, `limit ${soft}`);
    const after = bench.predict("clients served after", clients, `limit ${hard}`);
    before.measured(await crowd(bench, clients, server.port));
    await setDescriptorLimit(server.pid, { soft: hard, hard });
    after.measured(await crowd(bench, clients, server.port));
  },
};

const softLimit = {
  about: "ulimit -Sn alone: Node raises the soft limit to the hard one when it starts",
  run: async (bench: Bench, { soft, hard }: Params) => {
    needApart(bench, { soft, hard });
    const started = bench.predict("soft limit that it was started with", soft, "ulimit -Sn");
    const effective = bench.predict(
      "soft limit of the running server",
      hard,
      `started with ${soft}, hard limit ${hard}`,
    );
    const served = bench.predict(
      "clients served",
      soft,
      `${soft} clients and Node's own descriptors are more than ${soft}`,
    );
    const through = [...limits(soft, hard), ...TELLS_SOFT_LIMIT];
    const server = await bench.server([], { through });
    const running = descriptorLimit(server.pid);
    const answered = await crowd(bench, soft, server.port);
    await server.stop();
    started.measured(Number.parseInt(await server.said, 10));
    effective.measured(running.soft);
    served.measured(answered);
  },
};

export default defineLab({
  name: "ulimit",
  summary: "the descriptor limit is the number of connections, less what is open already",
  tags: ["descriptors"],
  params: {
    soft: [64, "lower limit", [32, 4_000]],
    hard: [256, `upper limit, at least ${APART} more`, [128, 4_096]],
  },
  story: {
    see: "Under each limit exactly as many connections are held as there are descriptors left; the next ones are cut off.",
    why:
      "A connection is a descriptor, and so is everything else a process has open: Node itself needs about twenty (epoll, pipes, eventfds, " +
      "the listener, libuv's reserve). Only the soft limit counts when a descriptor is made, but Node sets it to the hard limit at its start.",
    recognise: [
      [
        "grep 'open files' /proc/PID/limits",
        "soft and hard limit of a running process; your shell's ulimit says nothing about it",
      ],
      ["ls /proc/PID/fd | wc -l", "how many are in use"],
      ["cat /proc/sys/fs/file-nr", "the machine's own limit, which is another one (ENFILE)"],
    ],
    symptoms: ["EMFILE from accept()", "connections that end at once, without an answer"],
    fix: [
      "Raise the hard limit where the service is started: LimitNOFILE= (systemd), --ulimit nofile= (docker), limits.conf (login).",
      "prlimit --pid PID --nofile=SOFT:HARD for a process that must not be restarted.",
      "server.maxConnections below the limit, so that the program decides whom to refuse.",
    ],
    reports: ["nodejs/node#16572", "nodejs/node#42906", "grafana/k6#2006"],
  },
  arms: { broken, control, fixed: [raisedFromOutside], myth: [softLimit] },
});
