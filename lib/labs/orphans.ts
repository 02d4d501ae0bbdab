/**
 * orphans: the program has closed and is gone, and the kernel still holds its data, for a peer that does not read.
 *
 * close(2) returns at once; what is in the send queue stays there, with the FIN behind it, in FIN_WAIT1. If the peer's window is
 * closed nothing can be sent. The kernel probes it, with longer and longer pauses, for a socket that has no owner any more:
 * no program can see it, no limit on descriptors counts it, and its memory is the kernel's.
 *
 * WATCH   FIN_WAIT1 with inode 0 and the persist timer; Send-Q that does not shrink; orphan in /proc/net/sockstat
 * CAVEAT  orphan in sockstat, and tcp_max_orphans, which limits it, belong to the whole machine: the lab only reads the first
 * CAVEAT  small buffers here: by default up to 4 MiB (tcp_wmem) wait in each of them
 * SEE     tcp_close() in net/ipv4/tcp.c, tcp_probe_timer() in net/ipv4/tcp_timer.c
 */
import { readSockstat } from "../kernel/counters.ts";
import { readSysctl } from "../kernel/sysctl.ts";
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const BUFFER_BYTES = 65_536;
const UPLOAD_BYTES = 262_144;
const STILL_READINGS = 6;
const GRACE_MS = 300;
const LATER_MS = 1_500;
const LONGEST_PAUSE = "net.ipv4.tcp_rto_max_ms";
const RETRIES = 2;
/** Probes go out 0.2, 0.6, 1.4 and 3.0 s after the window has closed. */
const PROBES_MS = 3_200;

type Params = { readonly clients: number };

/** Connections whose peer does not read, filled up to the last byte. */
type Full = {
  readonly lines: readonly Line[];
  /** The sum of Send-Q. */
  readonly unsent: number;
};

function smallBuffers(bench: Bench): void {
  bench.sysctl("net.ipv4.tcp_wmem", `4096 ${BUFFER_BYTES} ${BUFFER_BYTES}`);
  bench.sysctl("net.ipv4.tcp_rmem", `4096 ${BUFFER_BYTES} ${BUFFER_BYTES}`);
}

async function fill(bench: Bench, own: OwnSockets, clients: number): Promise<Full> {
  smallBuffers(bench);
  const { port } = await bench.server(["--behave", "never-read"]);
  const lines = await own.dialAll(clients, { port });
  const upload = Buffer.alloc(UPLOAD_BYTES);
  for (const { socket } of lines) socket.write(upload);
  return { lines, unsent: await stillUnsent(bench) };
}

function sendQueues(bench: Bench, state: "ESTABLISHED" | "FIN_WAIT1"): number {
  return rows(bench, "client", state).reduce((sum, { sendQ }) => sum + (sendQ ?? 0), 0);
}

/** The sum of the clients' send queues, once it has stopped moving. */
async function stillUnsent(bench: Bench): Promise<number> {
  let [unsent, still] = [-1, 0];
  await bench.until(
    () => {
      const now = sendQueues(bench, "ESTABLISHED");
      still = now === unsent ? still + 1 : 0;
      unsent = now;
      return still;
    },
    (readings) => readings === STILL_READINGS,
  );
  return unsent;
}

/** FIN_WAIT1 rows: how many there are, how many without a process, and how many of these probe a closed window. */
function finWait1(bench: Bench): { all: number; orphaned: number; probing: number } {
  const all = rows(bench, "client", "FIN_WAIT1");
  const orphaned = all.filter(({ inode }) => inode === 0);
  const probing = orphaned.filter(({ timer }) => timer?.name === "persist");
  return { all: all.length, orphaned: orphaned.length, probing: probing.length };
}

/** Closes all connections, and shows what stays of them. */
async function becomeOrphans(bench: Bench, own: OwnSockets, clients: number): Promise<void> {
  bench.say(`${clients} clients write to a peer that does not read, then close.`);
  const orphaned = bench.predict("FIN_WAIT1 without an owner", clients, "close() returned at once");
  const probing = bench.predict("of these with the persist timer", clients, "a closed window");
  const counted = bench.predict(
    "orphan in /proc/net/sockstat",
    atLeast(clients),
    "counts the whole machine's",
  );
  const peers = bench.predict("ESTABLISHED, server's side", clients, "the FIN is still here");
  const { lines, unsent } = await fill(bench, own, clients);
  const held = bench.predict(
    "bytes that the kernel keeps (Send-Q)",
    unsent + clients,
    "as before the close, and one for each FIN",
  );
  for (const { socket } of lines) socket.destroy();
  const seen = await bench.until(
    () => finWait1(bench),
    (now) => now.probing === clients,
    2_000,
  );
  orphaned.measured(seen.orphaned);
  probing.measured(seen.probing);
  counted.measured(readSockstat().orphan);
  peers.measured(rows(bench, "server", "ESTABLISHED").length);
  held.measured(sendQueues(bench, "FIN_WAIT1"));
}

const broken = {
  about: "write to a peer that does not read, then close: the kernel keeps it all",
  run: (bench: Bench, { clients }: Params) =>
    withSockets((own) => becomeOrphans(bench, own, clients)),
};

const control = {
  about: "the same upload to a peer that reads: nothing is left over but TIME_WAIT",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      smallBuffers(bench);
      const timeWait = bench.predict("TIME_WAIT, clients", clients);
      const orphaned = bench.predict("FIN_WAIT1 without an owner", 0);
      const aborts = bench.predict("given up (TCPAbortOnTimeout)", 0);
      const { port } = await bench.server(["--behave", "stall"]);
      const lines = await own.dialAll(clients, { port });
      for (const { socket } of lines) socket.end(Buffer.alloc(UPLOAD_BYTES));
      timeWait.measured(await settled(bench, clients, ["client", "TIME_WAIT"]));
      orphaned.measured(finWait1(bench).orphaned);
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    }),
};

const resetAfterGrace = {
  about: "a deadline of one's own: what is not sent by then is thrown away with a RST",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      const orphaned = bench.predict("FIN_WAIT1 afterwards", 0);
      const aborts = bench.predict("closed by RST (TCPAbortOnData)", clients);
      const peers = bench.predict("ESTABLISHED, server's side", 0, "the peer is told");
      const { lines } = await fill(bench, own, clients);
      for (const { socket } of lines) {
        socket.end();
        socket.setTimeout(GRACE_MS, () => socket.resetAndDestroy());
      }
      await bench.until(
        () => lines.every(({ isClosed }) => isClosed),
        (all) => all,
      );
      orphaned.measured(finWait1(bench).all);
      aborts.measured(bench.counted("TcpExtTCPAbortOnData"));
      peers.measured(await settled(bench, 0, ["server", "ESTABLISHED"]));
    }),
};

const shortPauses = {
  about:
    "tcp_rto_max_ms=1000 (Linux 6.15): pauses soon reach their maximum, and the kernel gives up, also on slow readers",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      bench.need(readSysctl(LONGEST_PAUSE) !== undefined, `needs ${LONGEST_PAUSE} (Linux 6.15)`);
      bench.sysctl(LONGEST_PAUSE, 1_000);
      const gone = bench.predict("FIN_WAIT1 a little later", 0, "by default: after minutes");
      const aborts = bench.predict("given up (TCPAbortOnTimeout)", clients);
      const peers = bench.predict("ESTABLISHED then, server's side", clients, "half-open now");
      const resets = bench.predict("RSTs sent (TcpOutRsts)", 0, "the peer is not told");
      await becomeOrphans(bench, own, clients);
      gone.measured(
        await bench.until(
          () => finWait1(bench).all,
          (count) => count === 0,
        ),
      );
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
      peers.measured(rows(bench, "server", "ESTABLISHED").length);
      resets.measured(bench.counted("TcpOutRsts"));
    }),
};

const orphanRetries = {
  about: `tcp_orphan_retries=${RETRIES}: a peer that answers the probes sets the count back to 0`,
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      bench.sysctl("net.ipv4.tcp_orphan_retries", RETRIES);
      const probes = bench.predict(
        "probes sent (TCPWinProbe)",
        atLeast((RETRIES + 1) * clients),
        `more than ${RETRIES} for each`,
      );
      const left = bench.predict("FIN_WAIT1 after these", clients);
      const aborts = bench.predict("given up (TCPAbortOnTimeout)", 0);
      await becomeOrphans(bench, own, clients);
      await bench.pass(PROBES_MS);
      probes.measured(bench.counted("TcpExtTCPWinProbe"));
      left.measured(finWait1(bench).orphaned);
      aborts.measured(bench.counted("TcpExtTCPAbortOnTimeout"));
    }),
};

const finTimeout = {
  about: "tcp_fin_timeout=1: it is for FIN_WAIT2, and an orphan here does not get that far",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      bench.sysctl("net.ipv4.tcp_fin_timeout", 1);
      const left = bench.predict(`FIN_WAIT1 ${LATER_MS} ms later`, clients);
      await becomeOrphans(bench, own, clients);
      await bench.pass(LATER_MS);
      left.measured(finWait1(bench).orphaned);
    }),
};

export default defineLab({
  name: "orphans",
  summary: "closed sockets whose peer does not read: nobody's, and still in memory",
  tags: ["closing"],
  // More of them do not all finish while an arm waits for them.
  params: { clients: [23, "clients", [1, 200]] },
  story: {
    see: "The clients have closed, FIN_WAIT1 stays: no process owns these sockets, and each keeps its whole send queue in the kernel's memory.",
    why:
      "After close() the kernel is responsible for the rest: it delivers what is queued and then the FIN. A peer whose window is closed takes nothing, " +
      "so the FIN does not get out either. The persist timer sends a probe after 200 ms, 400 ms, 800 ms ... tcp_orphan_retries counts only probes " +
      "that got no answer, and this peer answers each: its kernel is well, its program does not read. The orphan is given up when the pause has " +
      "grown to two minutes (tcp_rto_max_ms), after about 340 s, during which a slow reader, or an attacker " +
      "that asks for much and reads nothing, holds megabytes for each connection that it has opened. The machine's limit, tcp_max_orphans, then kills " +
      "with a RST whatever orphan comes next, including honest ones.",
    recognise: [
      ["ss -tanoe state fin-wait-1", "rows with timer:(persist,...), a large Send-Q, and ino:0"],
      ["cat /proc/net/sockstat", "orphan: how many (whole machine); mem: pages of TCP memory"],
      [
        "sysctl net.ipv4.tcp_max_orphans net.ipv4.tcp_rto_max_ms",
        "the limits; the first one is the machine's, and is not seen in a container",
      ],
      [
        "nstat -az TcpExtTCPWinProbe TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnMemory",
        "probes, and who was given up",
      ],
    ],
    symptoms: [
      "FIN_WAIT1 without an owner",
      "persist timer",
      '"too many orphaned sockets" in dmesg',
      "TCP memory that grows without connections",
    ],
    fix: [
      "Do not leave it to close(): end(), wait for 'close', which comes with the peer's FIN, and after a deadline socket.resetAndDestroy(). 'finish' is too early: it says that " +
        "the kernel has everything, not that the peer has. In C: SO_LINGER with 0, or TCP_USER_TIMEOUT.",
      "Less data in the kernel: a smaller tcp_wmem maximum, TCP_NOTSENT_LOWAT.",
      "TCP_RTO_MAX_MS (Linux 6.15) for the socket that is about to be closed: the longest pause, so that with 1000 an orphan is given up after some 3 s. A slow but honest reader loses the rest then, too. The peer is not told: " +
        "its side needs a time-out of its own.",
      "Not net.ipv4.tcp_rto_max_ms for everybody, as here in a network of its own: repetitions have the same longest pause, so with 1000 a connection that hears nothing is given up after 15 s instead of a quarter of an hour. More of them, " +
        "tcp_retries2, make it four minutes at most, for that ends at 255.",
    ],
    reports: [
      "shadowsocks/shadowsocks-rust#376",
      "PurpleI2P/i2pd#825",
      "Ysurac/openmptcprouter#2729",
      "hjespers/node-red-contrib-nest#13",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [resetAfterGrace, shortPauses],
    myth: [orphanRetries, finTimeout],
  },
});
