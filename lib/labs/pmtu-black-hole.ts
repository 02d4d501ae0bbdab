/**
 * pmtu-black-hole: the handshake works, small requests work, and the first large one hangs for ever.
 *
 * A link on the path takes smaller packets than both ends. Its router cannot fragment (DF is set), so it drops large packets and
 * says so with ICMP "fragmentation needed". Where a firewall drops that message, the sender repeats the same
 * large packet until it gives up.
 *
 * WATCH   Send-Q that stays, with timer:(on,...); TCPTimeouts at the sender; ICMP messages that somebody drops
 * CAVEAT  tcp_retries1 and tcp_retries2 are small here, so that 6 s and a quarter of an hour become less than one second
 * NEEDS   nft and network namespaces: client, router and server are three hosts
 * SEE     tcp_mtu_probing() in net/ipv4/tcp_timer.c, ip_forward() in net/ipv4/ip_forward.c; RFC 1191, RFC 4821
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { ROUTE, withRoute, type Host, type Route } from "../lab/hosts.ts";
import { countErrno, withSockets, type Line } from "../lab/network.ts";

const HELLO = "hello, TCP";
const LINK_MTU = 1_400;
const UPLOAD_BYTES = 65_536;
const SMALL_WRITE_BYTES = 128;

type Params = { readonly clients: number };

/** What the router does beyond routing. */
type Router = {
  /** Does it (or the firewall beside it) drop its own ICMP messages? */
  readonly isSilent: boolean;
  /** Does it lower the MSS that is agreed upon in the handshake? */
  readonly clamps: boolean;
};

const SILENT: Router = { isSilent: true, clamps: false };
const TOO_LARGE = "icmp type destination-unreachable icmp code 4";

/** Client - 1500 - router - 1400 - server; the server's own interface does not know of the 1400. */
function configure(router: Host, { isSilent, clamps }: Router): void {
  router.mtu("outside", LINK_MTU);
  router.filter("output", [`${TOO_LARGE} counter ${isSilent ? "drop" : "accept"}`]);
  if (clamps) router.filter("forward", ["tcp flags syn tcp option maxseg size set rt mtu"]);
}

type Scene = Route & {
  /** Small requests, on connections of their own. */
  readonly small: readonly Line[];
  readonly uploads: readonly Line[];
};

/** How an arm differs. */
type Variant = {
  readonly router: Router;
  readonly prepare?: (client: Host) => void;
  /** Bytes that the program writes at a time. */
  readonly pieceBytes?: number;
};

function upload(line: Line, pieceBytes: number): void {
  const piece = Buffer.alloc(pieceBytes);
  for (let sent = 0; sent < UPLOAD_BYTES; sent += pieceBytes) line.socket.write(piece);
  line.socket.end();
}

/** Small requests and large uploads, under way. */
async function send(
  bench: Bench,
  { clients }: Params,
  { router: kind, prepare, pieceBytes = UPLOAD_BYTES }: Variant,
  work: (scene: Scene) => Promise<void>,
): Promise<void> {
  await withRoute(bench, async (route) => {
    configure(route.router, kind);
    prepare?.(route.client);
    const at = { through: route.server.through };
    const [echo, sink] = await Promise.all([
      bench.server(["--host", ROUTE.server], at),
      bench.server(["--host", ROUTE.server, "--behave", "stall"], at),
    ]);
    await withSockets(async (own) => {
      const small = await own.dialAll(clients, { host: ROUTE.server, port: echo.port });
      for (const { socket } of small) socket.write(HELLO);
      const uploads = await own.dialAll(clients, { host: ROUTE.server, port: sink.port });
      for (const line of uploads) upload(line, pieceBytes);
      await work({ ...route, small, uploads });
    });
  });
}

function answered(bench: Bench, { small }: Scene): Promise<number> {
  return bench.until(
    () => small.filter(({ bytes }) => bytes === HELLO.length).length,
    (count) => count === small.length,
  );
}

/** The server closes when it has read the end of the upload. */
function complete(bench: Bench, { uploads }: Scene): Promise<number> {
  return bench.until(
    () => uploads.filter(({ hasEnded }) => hasEnded).length,
    (count) => count === uploads.length,
  );
}

/** Nobody tells the sender, and it does not find out by itself. */
async function swallowed(bench: Bench, params: Params, pieceBytes = UPLOAD_BYTES): Promise<void> {
  const { clients } = params;
  bench.say(
    `${clients} small requests and ${clients} uploads of ${UPLOAD_BYTES} bytes; one link takes only ${LINK_MTU} bytes, and its ICMP is dropped.`,
  );
  const small = bench.predict("small requests answered", clients, "the path is there");
  const errno = bench.predict(
    "uploads: ETIMEDOUT",
    clients,
    "tcp_retries2 is 1 here, 15 by default",
  );
  const done = bench.predict("uploads complete", 0);
  const icmp = bench.predict(
    "ICMP 'too large' that were dropped",
    atLeast(1),
    "one for each large packet, less those that the router's own rate limit holds back",
  );
  const aborts = bench.predict("given up (TCPAbortOnTimeout)", clients);
  const ours = bench.predict("ESTABLISHED, client, after that", clients, "the small ones");
  const theirs = bench.predict(
    "ESTABLISHED, server, after that",
    2 * clients,
    "it waits for uploads that nobody makes any more",
  );
  const prepare = (client: Host): void => client.sysctl("net.ipv4.tcp_retries2", 1);
  await send(bench, params, { router: SILENT, prepare, pieceBytes }, async (scene) => {
    small.measured(await answered(bench, scene));
    const timedOut = (): number => countErrno(scene.uploads, "ETIMEDOUT");
    errno.measured(await bench.until(timedOut, (count) => count === clients));
    done.measured(scene.uploads.filter(({ hasEnded }) => hasEnded).length);
    icmp.measured(scene.router.packets("output"));
    aborts.measured(scene.client.counted("TcpExtTCPAbortOnTimeout"));
    ours.measured(established(scene.client));
    theirs.measured(established(scene.server));
  });
}

function established(host: Host): number {
  return host.sockets().filter(({ state }) => state === "ESTABLISHED").length;
}

/** All arrives; `more` says how. */
async function arrives(
  bench: Bench,
  params: Params,
  how: Variant,
  more: (scene: Scene) => void,
): Promise<void> {
  const small = bench.predict("small requests answered", params.clients);
  const done = bench.predict("uploads complete", params.clients);
  const aborts = bench.predict("given up (TCPAbortOnTimeout)", 0);
  await send(bench, params, how, async (scene) => {
    small.measured(await answered(bench, scene));
    done.measured(await complete(bench, scene));
    aborts.measured(scene.client.counted("TcpExtTCPAbortOnTimeout"));
    more(scene);
  });
}

const broken = {
  about: "a link with a smaller MTU, and a firewall that drops ICMP: large packets vanish",
  run: (bench: Bench, params: Params) => swallowed(bench, params),
};

const control = {
  about: "the same link, but the router's ICMP gets through: the sender makes smaller packets",
  run: async (bench: Bench, params: Params) => {
    const icmp = bench.predict("ICMP 'too large' that were sent", atLeast(1));
    const router = { isSilent: false, clamps: false };
    await arrives(bench, params, { router }, (scene) => {
      icmp.measured(scene.router.packets("output"));
    });
  },
};

const mtuProbing = {
  about: "tcp_mtu_probing=1: after tcp_retries1 time-outs the sender tries smaller packets",
  run: async (bench: Bench, params: Params) => {
    const timeouts = bench.predict("time-outs before (TCPTimeouts)", atLeast(params.clients));
    const prepare = (client: Host): void => {
      client.sysctl("net.ipv4.tcp_mtu_probing", 1);
      client.sysctl("net.ipv4.tcp_retries1", 1);
    };
    await arrives(bench, params, { router: SILENT, prepare }, ({ client }) => {
      timeouts.measured(client.counted("TcpExtTCPTimeouts"));
    });
  },
};

const clampMss = {
  about: "the router lowers the MSS in the handshake: no packet is ever too large",
  run: async (bench: Bench, params: Params) => {
    const icmp = bench.predict("ICMP 'too large' that were dropped", 0, "nothing is too large");
    const timeouts = bench.predict("time-outs (TCPTimeouts)", 0);
    const router = { isSilent: true, clamps: true };
    await arrives(bench, params, { router }, (scene) => {
      icmp.measured(scene.router.packets("output"));
      timeouts.measured(scene.client.counted("TcpExtTCPTimeouts"));
    });
  },
};

const smallWrites = {
  about: `smaller writes, ${SMALL_WRITE_BYTES} bytes each: the kernel makes large packets of them`,
  run: (bench: Bench, params: Params) => swallowed(bench, params, SMALL_WRITE_BYTES),
};

export default defineLab({
  name: "pmtu-black-hole",
  summary: "large packets vanish on the path, small ones do not: uploads hang",
  tags: ["data"],
  // More uploads do not all come to the end of their time-outs within the patience of an arm.
  params: { clients: [5, "small requests, and as many uploads", [1, 50]] },
  story: {
    see: "Every connect() succeeds, every short request is answered, and every upload hangs with a full Send-Q until ETIMEDOUT.",
    why:
      "Each end announces in its SYN how large a segment may be (MSS), from the MTU of its own interface: 1460 of 1500. A tunnel on the way (VPN, VXLAN, PPPoE, a cloud's overlay) takes less. " +
      "TCP sets DF and relies on the router's ICMP message to learn that. Firewalls that block all ICMP turn this into a black hole: the packet is dropped, the reason as well. " +
      "The handshake, ping and short requests are small and get through, and so the blame goes to the program, to TLS (the certificate is the first large packet), to anything but the path.",
    recognise: [
      [
        "ss -tinmo dst HOST",
        "Send-Q of a segment or more, timer:(on,...), backoff; mss and pmtu say what is believed",
      ],
      ["tracepath -n HOST; ping -M do -s 1472 HOST", "the size at which answers stop"],
      [
        "tcpdump -ni any 'icmp[0] = 3 and icmp[1] = 4'",
        "whether 'fragmentation needed' arrives at the sender",
      ],
      [
        "nstat -az TcpExtTCPTimeouts TcpExtTCPMTUPSuccess TcpExtTCPMTUPFail",
        "time-outs; probes of another size",
      ],
      ["ip route get HOST", "mtu NNNN with an expiry: what was learnt by ICMP"],
    ],
    symptoms: [
      "ETIMEDOUT from write() although connect() and short requests work",
      "a TLS handshake that hangs after ClientHello",
      "Send-Q that stays, timer:(on,...)",
      "works from one network and not from another",
    ],
    fix: [
      "Let ICMP type 3 code 4 (IPv6: type 2, packet too big) pass: it is part of TCP.",
      "net.ipv4.tcp_mtu_probing=1 on hosts behind networks that one cannot mend: with the default tcp_retries1=3 each connection stalls for 6 s before it tries smaller packets, and the next one stalls again. With 2 all begin with small ones (tcp_base_mss, 1024), and none stalls. Node has no option for the size of segments; it can notice the silence: socket.setTimeout().",
      "MSS clamping on the router with the tunnel: nft 'tcp flags syn tcp option maxseg size set rt mtu'; or the tunnel's MTU on the interfaces themselves.",
    ],
    needs: [
      "nft (package nftables), to drop what a router says",
      "ip (package iproute2), and network namespaces inside the sandbox: client, router and server are three hosts",
    ],
    reports: ["moby/moby#12565", "moby/moby#49398", "moby/moby#20178", "moby/libnetwork#2661"],
  },
  arms: {
    broken,
    control,
    fixed: [mtuProbing, clampMss],
    myth: [smallWrites],
  },
});
