/**
 * fin-wait-2: we have closed, the peer's kernel has said so, and the peer's program never closes. How long do we wait?
 *
 * It depends on who still owns the socket. After close(2) it is an orphan: nobody could read what the peer still sends, so
 * the kernel gives up after tcp_fin_timeout. After shutdown(2) (in Node end()) the program still holds it and may want to
 * read: then there is no timer at all, and FIN_WAIT2 lasts as long as the peer likes.
 *
 * WATCH   FIN_WAIT2 with an owner and without a timer; FIN_WAIT2 without an owner, with timewait as its timer
 * CAVEAT  the peer that never closes is the cause: its sockets are in CLOSE_WAIT; see fd-leak
 * SEE     tcp_close() and tcp_rcv_state_process() in net/ipv4/tcp.c and tcp_input.c; tcp_fin_timeout in tcp(7)
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets } from "../lab/network.ts";

const FIN_TIMEOUT_S = 1;
const LATER_MS = 1_250;
const GIVE_UP_MS = 200;

type Params = { readonly clients: number };

/** FIN_WAIT2 rows: how many have a process, and how many the kernel keeps on its own, with its timer. */
function finWait2(bench: Bench): { owned: number; orphans: number; timed: number } {
  const all = rows(bench, "client", "FIN_WAIT2");
  return {
    owned: all.filter(({ inode }) => inode !== 0).length,
    orphans: all.filter(({ inode }) => inode === 0).length,
    timed: all.filter(({ timer }) => timer !== undefined).length,
  };
}

/** The world made small: the default of tcp_fin_timeout is 60 s. */
function shortTimeout(bench: Bench): void {
  bench.sysctl("net.ipv4.tcp_fin_timeout", FIN_TIMEOUT_S);
}

function halfClosers(clients: number): readonly string[] {
  return ["--connections", `${clients}`, "--leave", "half-close"];
}

const LATER = `${LATER_MS} ms after; tcp_fin_timeout is ${FIN_TIMEOUT_S} s here`;

const broken = {
  about: "half-closed with end(): the owner waits in FIN_WAIT2, and no timer runs",
  run: async (bench: Bench, { clients }: Params) => {
    shortTimeout(bench);
    await bench.server(["--leak"]);
    bench.say(`${clients} clients say that they are done; the server never does.`);
    const before = bench.predict("FIN_WAIT2 with an owner", clients);
    const timers = bench.predict("timers on them", 0, "only an orphan gets one");
    const after = bench.predict("FIN_WAIT2 after tcp_fin_timeout", clients, LATER);
    const peers = bench.predict("CLOSE_WAIT, server's side", clients);
    bench.start("client", halfClosers(clients));
    const seen = await bench.until(
      () => finWait2(bench),
      ({ owned }) => owned === clients,
    );
    before.measured(seen.owned);
    timers.measured(seen.timed);
    await bench.pass(LATER_MS);
    after.measured(finWait2(bench).owned);
    peers.measured(rows(bench, "server", "CLOSE_WAIT").length);
  },
};

const control = {
  about: "a server that closes when the client does: FIN_WAIT2 is over at once",
  run: async (bench: Bench, { clients }: Params) => {
    shortTimeout(bench);
    await bench.server();
    const closed = bench.predict("TIME_WAIT, client's side", clients, "both FINs are through");
    const waiting = bench.predict("FIN_WAIT2, client's side", 0);
    const peers = bench.predict("CLOSE_WAIT, server's side", 0);
    await bench.run("client", halfClosers(clients));
    closed.measured(await settled(bench, clients, ["client", "TIME_WAIT"]));
    waiting.measured(rows(bench, "client", "FIN_WAIT2").length);
    peers.measured(rows(bench, "server", "CLOSE_WAIT").length);
  },
};

const closed = {
  about: "close() instead: orphans, which end after tcp_fin_timeout",
  run: async (bench: Bench, { clients }: Params) => {
    shortTimeout(bench);
    await bench.server(["--leak"]);
    const orphans = bench.predict("FIN_WAIT2 without an owner", clients, "inode 0");
    const timers = bench.predict("timers on them", clients, "one each");
    const gone = bench.predict("FIN_WAIT2 after tcp_fin_timeout", 0, `${FIN_TIMEOUT_S} s here`);
    const peers = bench.predict("CLOSE_WAIT, server's side", clients, "still its leak");
    await bench.run("client", ["--connections", `${clients}`, "--leave", "end"]);
    const seen = await bench.until(
      () => finWait2(bench),
      (now) => now.orphans === clients,
      FIN_TIMEOUT_S * 500,
    );
    orphans.measured(seen.orphans);
    timers.measured(seen.timed);
    const left = await bench.until(
      () => finWait2(bench).orphans,
      (count) => count === 0,
    );
    gone.measured(left);
    peers.measured(rows(bench, "server", "CLOSE_WAIT").length);
  },
};

const giveUp = {
  about: "end(), and destroy() when the peer's FIN does not come (socket.setTimeout)",
  run: async (bench: Bench, { clients }: Params) => {
    shortTimeout(bench);
    const server = await bench.server(["--leak"]);
    await withSockets(async (own) => {
      const given = bench.predict("sockets that gave up waiting", clients, `${GIVE_UP_MS} ms`);
      const owned = bench.predict("FIN_WAIT2 with an owner", 0, "no descriptor is held");
      const orphans = bench.predict("FIN_WAIT2 without an owner", clients, "the kernel ends them");
      const gone = bench.predict("FIN_WAIT2 after tcp_fin_timeout", 0, `${FIN_TIMEOUT_S} s here`);
      const lines = await own.dialAll(clients, { port: server.port, allowHalfOpen: true });
      let gaveUp = 0;
      for (const { socket } of lines)
        // Without a word: what a slow server echoes to an orphan is answered with a RST, which ends both sides.
        socket.end().setTimeout(GIVE_UP_MS, () => {
          gaveUp += 1;
          socket.destroy();
        });
      await bench.until(
        () => gaveUp,
        (count) => count === clients,
      );
      given.measured(gaveUp);
      await bench.until(
        () => finWait2(bench).orphans,
        (count) => count === clients,
        FIN_TIMEOUT_S * 500,
      );
      owned.measured(finWait2(bench).owned);
      orphans.measured(finWait2(bench).orphans);
      const left = await bench.until(
        () => finWait2(bench).orphans,
        (count) => count === 0,
      );
      gone.measured(left);
    });
  },
};

const keepAlive = {
  about: "SO_KEEPALIVE: the peer's kernel answers every probe, whatever its program does",
  run: async (bench: Bench, { clients }: Params) => {
    shortTimeout(bench);
    const server = await bench.server(["--leak"]);
    await withSockets(async (own) => {
      const probes = bench.predict("probes (TcpExtTCPKeepAlive)", atLeast(clients), "one a second");
      const waiting = bench.predict("FIN_WAIT2 with an owner", clients, LATER);
      const errors = bench.predict("sockets that see an error", 0);
      const lines = await own.dialAll(clients, { port: server.port, allowHalfOpen: true });
      for (const { socket } of lines) socket.setKeepAlive(true, 1_000).end();
      await bench.pass(LATER_MS);
      const counted = await bench.until(
        () => bench.counted("TcpExtTCPKeepAlive"),
        (count) => count >= clients,
      );
      probes.measured(counted);
      waiting.measured(finWait2(bench).owned);
      errors.measured(lines.filter(({ errno }) => errno !== "none").length);
    });
  },
};

export default defineLab({
  name: "fin-wait-2",
  summary: "FIN_WAIT2 ends after tcp_fin_timeout, unless somebody still owns it",
  tags: ["closing"],
  // More of them are not all there before tcp_fin_timeout ends the first.
  params: { clients: [23, "connections", [1, 200]] },
  story: {
    see: "Half-closed sockets stay in FIN_WAIT2 for as long as the peer does not close; closed ones vanish after tcp_fin_timeout.",
    why:
      "FIN_WAIT2 means: our FIN has been acknowledged, the peer's has not come. RFC 9293 knows no limit for that state. Linux " +
      "sets one, tcp_fin_timeout, 60 s by default, but only for orphans: sockets that no descriptor refers to any more. One that was only " +
      "shut down for writing may still be read, and the kernel cannot know that nobody will. Each one holds a descriptor on both sides.",
    recognise: [
      [
        "ss -tanpo state fin-wait-2",
        "users:(...) and no timer: half-closed; timer:(timewait,...): an orphan",
      ],
      ["tcp-states --by process", "whose they are; orphans are nobody's"],
      ["ss -tanp state close-wait", "the other end, when it is on the same machine: the cause"],
      ["sysctl net.ipv4.tcp_fin_timeout", "how long an orphan may wait, in seconds"],
    ],
    symptoms: ["FIN_WAIT2 on the client's side", "many CLOSE_WAIT"],
    fix: [
      "After end(), set a timeout and destroy() the socket when the peer's FIN does not come.",
      "In Node allowHalfOpen: false on the other side: it answers a FIN with its own.",
      "Close on the side that leaks; tcp_fin_timeout only treats the orphans, and TIME_WAIT not at all.",
      "As a last resort: ss -tK state fin-wait-2 '( dport = :PORT )' destroys sockets from outside, healthy half-closed ones too: list them first, without -K (as root; the kernel needs CONFIG_INET_DIAG_DESTROY).",
    ],
    reports: [
      "uNetworking/uWebSockets#95",
      "rootless-containers/slirp4netns#350",
      "status-im/infra-nimbus#35",
    ],
  },
  arms: { broken, control, fixed: [closed, giveUp], myth: [keepAlive] },
});
