/**
 * syn-backlog: handshakes that never finish fill the SYN queue, and an honest client's SYN is dropped without a word.
 *
 * A SYN costs the server a small record (SYN_RECV) until the client's ACK comes or all repetitions of the SYN-ACK are used up:
 * after a minute by default, after some 7 s for old ones in a queue that is more than half full. Spoofed senders never answer;
 * neither do clients behind a firewall that eats SYN-ACKs. With SYN cookies the kernel keeps no record once the queue is full:
 * it hides what it has to know in the number of its SYN-ACK.
 *
 * WATCH   SYN_RECV that stays at one number; ListenDrops without cookies, TCPReqQFullDoCookies with them
 * CAVEAT  two limits hold at once: that of listen(2), and tcp_max_syn_backlog, whose last quarter is kept for known peers
 * CAVEAT  whether listen(2) allows backlog or backlog + 1 records depends on the kernel's version: 6.18 has backlog + 1
 * NEEDS   nft
 * SEE     tcp_conn_request() in net/ipv4/tcp_input.c, inet_csk_reqsk_queue_is_full() in include/net/inet_connection_sock.h,
 *         reqsk_timer_handler() in net/ipv4/inet_connection_sock.c
 */
import type { Bench } from "../lab/bench.ts";
import { between, exactly, type Expectation } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import { countErrno, rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

/** SYN-ACKs for this address never arrive. */
const LOST = "127.0.0.2";
const HONEST = "127.0.0.1";
const HELLO = "hello, TCP";
const SMALL = 8;
const LARGE = 128;

type Params = { readonly strangers: number };

/** The three parameters that decide. */
type Limits = {
  readonly cookies: 0 | 1;
  /** Of listen(2). */
  readonly backlog: number;
  /** tcp_max_syn_backlog. */
  readonly synBacklog: number;
};

const CRAMPED: Limits = { cookies: 0, backlog: SMALL, synBacklog: SMALL };

/** How many unfinished handshakes fit, and which rule says so. */
type Room = { readonly least: number; readonly most: number; readonly because: string };

function room({ cookies, backlog, synBacklog }: Limits): Room {
  const three = synBacklog - Math.floor(synBacklog / 4) + 1;
  if (cookies === 1 || three > backlog)
    return {
      least: backlog,
      most: backlog + 1,
      because: "backlog, or backlog + 1: the kernel's version decides",
    };
  return {
    least: three,
    most: three,
    because: "three quarters of tcp_max_syn_backlog, + 1",
  };
}

function expected({ least, most }: Room): Expectation {
  return least === most ? exactly(least) : between(least, most);
}

/** As in the broken arm, and then what is different. */
function apply(bench: Bench, { cookies, synBacklog }: Limits): void {
  bench.sysctl("net.ipv4.tcp_syncookies", CRAMPED.cookies);
  bench.sysctl("net.ipv4.tcp_max_syn_backlog", CRAMPED.synBacklog);
  if (cookies !== CRAMPED.cookies) bench.sysctl("net.ipv4.tcp_syncookies", cookies);
  if (synBacklog !== CRAMPED.synBacklog) bench.sysctl("net.ipv4.tcp_max_syn_backlog", synBacklog);
  // Give up after one repetition, and soon: by default it takes more than two minutes.
  bench.sysctl("net.ipv4.tcp_syn_retries", 1);
  bench.sysctlIfPresent("net.ipv4.tcp_syn_linear_timeouts", 0);
  bench.sysctlIfPresent("net.ipv4.tcp_rto_max_ms", 1_000);
}

/** A server, and strangers whose handshakes hang. */
type Scene = { readonly port: number; readonly strangers: readonly Promise<Line>[] };

async function crowd(
  bench: Bench,
  own: OwnSockets,
  { limits, strangers }: { limits: Limits; strangers: number },
): Promise<Scene> {
  apply(bench, limits);
  const { port } = await bench.server(["--backlog", `${limits.backlog}`]);
  thisHost(bench).filter("input", [
    `tcp sport ${port} ip daddr ${LOST} tcp flags & (syn | ack) == syn | ack drop`,
  ]);
  const dials = Array.from({ length: strangers }, () => own.dial({ port, localAddress: LOST }));
  await bench.until(
    () => rows(bench, "client", "SYN_SENT", port).length,
    (count) => count === strangers,
  );
  return { port, strangers: dials };
}

/** SYNs that came twice count twice. */
function repeated(bench: Bench): { counter: string; value: number; because: string } {
  return {
    counter: "TcpExtTCPSynRetrans",
    value: bench.counted("TcpExtTCPSynRetrans"),
    because: "SYNs and SYN-ACKs that were repeated meanwhile",
  };
}

/** Without cookies: the queue is full, and whoever comes now is not heard. Returns who waits for the end of it. */
async function shutOut(
  bench: Bench,
  own: OwnSockets,
  { limits, strangers }: { limits: Limits; strangers: number },
): Promise<{ readonly dials: readonly Promise<Line>[] }> {
  const size = room(limits);
  bench.need(strangers > size.most, `${strangers} strangers do not fill a queue of ${size.most}`);
  bench.say(
    `backlog ${limits.backlog}, tcp_max_syn_backlog ${limits.synBacklog}, cookies off. ${strangers} clients never get their SYN-ACK; then one comes that could.`,
  );
  const held = bench.predict("SYN_RECV, server's side", expected(size), size.because);
  const waiting = bench.predict("SYN_SENT, the honest client", 1);
  const sum = bench.predict("SYN_RECV + ListenDrops", strangers + 1, "one SYN each");
  const cookies = bench.predict("cookies sent (SyncookiesSent)", 0);
  const refused = bench.predict("RSTs sent (TcpOutRsts)", 0, "nobody is told");
  const scene = await crowd(bench, own, { limits, strangers });
  const dial = own.dial({ port: scene.port, localAddress: HONEST });
  const synSent = await bench.until(
    () => honest(bench, scene.port),
    (seen) => seen === 1,
  );
  const records = rows(bench, "server", "SYN_RECV", scene.port).length;
  held.measured(records);
  waiting.measured(synSent);
  sum.measured(records + bench.counted("TcpExtListenDrops"), repeated(bench));
  cookies.measured(bench.counted("TcpExtSyncookiesSent"));
  refused.measured(bench.counted("TcpOutRsts"));
  return { dials: [dial, ...scene.strangers] };
}

function honest(bench: Bench, port: number): number {
  return rows(bench, "client", "SYN_SENT", port).filter(({ local }) => local.address !== LOST)
    .length;
}

/** The honest client is served, whatever the strangers do. */
async function servedAmongStrangers(
  bench: Bench,
  limits: Limits,
  { strangers }: Params,
): Promise<void> {
  await withSockets(async (own) => {
    const size = room(limits);
    const allFit = strangers < size.least;
    const held = bench.predict(
      "SYN_RECV, server's side",
      allFit ? strangers : expected(size),
      allFit ? "all fit" : size.because,
    );
    const asked = bench.predict(
      "SYN_RECV + TCPReqQFullDoCookies",
      allFit ? strangers : strangers + 1,
      allFit ? "no cookie is needed" : "a record or a cookie for each SYN, the honest one included",
    );
    const returned = bench.predict("cookies returned (SyncookiesRecv)", allFit ? 0 : 1);
    const drops = bench.predict("SYNs dropped (ListenDrops)", 0);
    const errno = bench.predict("honest client: connect()", "none");
    const bytes = bench.predict("honest client: bytes echoed", HELLO.length);
    const scene = await crowd(bench, own, { limits, strangers });
    const records = rows(bench, "server", "SYN_RECV", scene.port).length;
    held.measured(records);
    const line = await own.dial({ port: scene.port, localAddress: HONEST });
    line.socket.write(HELLO);
    const echoed = await bench.until(
      () => line.bytes,
      (seen) => seen === HELLO.length,
    );
    asked.measured(records + bench.counted("TcpExtTCPReqQFullDoCookies"), repeated(bench));
    returned.measured(bench.counted("TcpExtSyncookiesRecv"));
    drops.measured(bench.counted("TcpExtListenDrops"));
    errno.measured(line.errno);
    bytes.measured(echoed);
  });
}

const broken = {
  about: "cookies off, a small SYN queue: seven strangers keep everybody out",
  run: (bench: Bench, { strangers }: Params) =>
    withSockets(async (own) => {
      const errno = bench.predict("honest client: connect()", "ETIMEDOUT");
      const others = bench.predict("strangers: connect() = ETIMEDOUT", strangers);
      const { dials } = await shutOut(bench, own, { limits: CRAMPED, strangers });
      const [honestOne, ...theirs] = await Promise.all(dials);
      errno.measured(honestOne?.errno ?? "");
      others.measured(countErrno(theirs, "ETIMEDOUT"));
    }),
};

const control = {
  about: "the same small queue, and fewer strangers than fit",
  run: (bench: Bench) =>
    servedAmongStrangers(bench, CRAMPED, { strangers: room(CRAMPED).least - 1 }),
};

/** The same failure as in the broken arm, in spite of `limits`. */
async function stillShutOut(bench: Bench, limits: Limits, { strangers }: Params): Promise<void> {
  await withSockets(async (own) => {
    await shutOut(bench, own, { limits, strangers });
  });
}

const cookies = {
  about: "tcp_syncookies=1, the default: beyond the queue no record is kept at all",
  run: (bench: Bench, params: Params) =>
    servedAmongStrangers(bench, { ...CRAMPED, cookies: 1 }, params),
};

const roomForAll = {
  about: "cookies off, but both limits larger: the strangers fit, for as long as they are few",
  run: (bench: Bench, params: Params) =>
    servedAmongStrangers(bench, { cookies: 0, backlog: LARGE, synBacklog: LARGE }, params),
};

const backlogAlone = {
  about: "a larger backlog alone: tcp_max_syn_backlog is the smaller one, and it counts",
  run: (bench: Bench, params: Params) =>
    stillShutOut(bench, { ...CRAMPED, backlog: LARGE }, params),
};

const sysctlAlone = {
  about: "a larger tcp_max_syn_backlog alone: now the backlog of listen(2) is the smaller one",
  run: (bench: Bench, params: Params) =>
    stillShutOut(bench, { ...CRAMPED, synBacklog: LARGE }, params),
};

export default defineLab({
  name: "syn-backlog",
  summary: "unfinished handshakes fill the SYN queue and shut everybody out",
  tags: ["handshakes", "queues"],
  params: { strangers: [23, "clients that never get their SYN-ACK", [10, 96]] },
  story: {
    see: "Seven handshakes that never finish, and an honest client's connect() ends in ETIMEDOUT although the server has nothing to do.",
    why:
      "Between SYN and ACK the server keeps a record of each handshake and repeats its SYN-ACK 1, 3, 7, 15 and 31 s after the first; 63 s after the SYN " +
      "the record is given up (tcp_synack_retries=5). When more than half of the backlog is taken, and mostly by old records, the kernel gives these up " +
      "after two repetitions, 7 s, so that a flood meets records that live 7 or 8 s, whether tcp_synack_retries is 5 or 2. There is room for as many as listen(2) allows, + 1, and without cookies also for no more than three quarters of " +
      "tcp_max_syn_backlog, + 1 (whose round trip is known from an earlier connection, ip tcp_metrics, passes that). Beyond that SYNs are dropped in silence. A few dozen forged packets per second are enough. With tcp_syncookies=1 the " +
      "server answers all the same, but keeps nothing: address, port and time are in the sequence number that the client has to acknowledge. What is lost are " +
      "options for which there is no room (window scale and SACK survive in the time stamp).",
    recognise: [
      ["ss -Htan state syn-recv | wc -l", "stays at one number, close to the backlog"],
      [
        "nstat -az TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop TcpExtListenDrops",
        "what became of the SYNs beyond that; ListenOverflows stays 0, it is not the accept queue",
      ],
      [
        "nstat -az TcpExtSyncookiesSent TcpExtSyncookiesRecv",
        "few come back: an attack; most do: a busy server",
      ],
      ["dmesg | grep 'SYN flooding'", "once for each listener; says whether cookies were sent"],
      [
        "sysctl net.ipv4.tcp_syncookies net.ipv4.tcp_max_syn_backlog net.core.somaxconn",
        "the limits",
      ],
    ],
    symptoms: [
      "ETIMEDOUT from connect()",
      "SYN_RECV at a constant number",
      "TcpExtListenDrops without TcpExtListenOverflows",
      "TcpExtTCPReqQFullDoCookies rises",
      "TcpExtSyncookiesSent rises",
      '"Possible SYN flooding on port" in dmesg',
    ],
    fix: [
      "Leave tcp_syncookies at 1; 2 (always) is for tests.",
      "Raise three limits together: the backlog of listen() (in Node server.listen({ backlog })), net.core.somaxconn, tcp_max_syn_backlog.",
      "If most cookies come back it is no attack but a server that gets more connections than it was made for: see accept-queue-overflow.",
    ],
    needs: ["nft (package nftables), to lose packets"],
    reports: [
      "netdata/netdata#8249",
      "zaphoyd/websocketpp#549",
      "mikebrady/shairport-sync#1107",
      "cuberite/cuberite#4596",
    ],
  },
  arms: {
    broken,
    control,
    fixed: [cookies, roomForAll],
    myth: [backlogAlone, sysctlAlone],
  },
});
