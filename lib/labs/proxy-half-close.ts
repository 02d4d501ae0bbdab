/**
 * proxy-half-close: a proxy that does not pass a FIN on. Each such connection leaves CLOSE_WAIT and FIN_WAIT2, in pairs.
 *
 * A TCP connection is two streams, and each ends by itself. "That was all, now answer" is a FIN in one direction while the
 * other stays open. A proxy holds two connections for each client; it has to turn the end of one stream into the end of the
 * next one, and only of that one. One that swallows the FIN makes both ends wait for ever. One that closes everything
 * at the first FIN cuts the answer off.
 *
 * WATCH   at the proxy as many CLOSE_WAIT (front) as ESTABLISHED (back); FIN_WAIT2 at the clients
 * CAVEAT  clients, proxy and upstream are one process here; ports tell them apart
 * SEE     RFC 9293 section 3.6; shutdown(2); pipe() with { end } in Node's stream, CloseWrite() in Go
 */
import type { Socket } from "node:net";
import { pipeline } from "node:stream";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { rows, settled, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const REQUEST = "all that I have to say";
const ANSWER = "heard all of it";
const IDLE_MS = 400;
/** By then a proxy that passes errors on has done it. */
const AFTERWARDS_MS = 100;

type Params = { readonly clients: number };

/** The two connections of one client, joined. */
type Join = (front: Socket, back: Socket) => void;

/** How a proxy joins them, and whether Node may close a socket by itself at the peer's FIN. */
type Proxy = { readonly join: Join; readonly allowHalfOpen: boolean };

const swallowsFin: Proxy = {
  allowHalfOpen: true,
  join: (front, back) => {
    front.pipe(back, { end: false });
    back.pipe(front);
  },
};

const passesFinOn: Proxy = {
  allowHalfOpen: true,
  join: (front, back) => {
    front.pipe(back);
    back.pipe(front);
  },
};

/** As pipe() passes an end on, pipeline() does an error as well. */
const passesErrorsOn: Proxy = {
  allowHalfOpen: true,
  join: (front, back) => {
    pipeline(front, back, () => undefined);
    pipeline(back, front, () => undefined);
  },
};

const sweepsUp: Proxy = {
  allowHalfOpen: true,
  join: (front, back) => {
    swallowsFin.join(front, back);
    front.setTimeout(IDLE_MS, () => {
      front.destroy();
      back.destroy();
    });
  },
};

const closesBoth: Proxy = {
  allowHalfOpen: true,
  join: (front, back) => {
    passesFinOn.join(front, back);
    front.on("end", () => {
      front.destroySoon();
      back.destroySoon();
    });
  },
};

const leavesItToNode: Proxy = { ...passesFinOn, allowHalfOpen: false };

/** Where everybody listens, and the clients, which have all said what they have to say. */
type Scene = {
  readonly upstream: number;
  /** The proxy's; without a proxy, the upstream's. */
  readonly entry: number;
  readonly lines: readonly Line[];
};

/** An upstream that answers when it has heard everything: at the FIN. */
async function meet(own: OwnSockets, clients: number, proxy?: Proxy): Promise<Scene> {
  const { port: upstream } = await own.listen({
    allowHalfOpen: true,
    onLine: ({ socket }) => socket.on("end", () => socket.end(ANSWER)),
  });
  const entry = proxy === undefined ? upstream : await listenAsProxy(own, upstream, proxy);
  const lines = await own.dialAll(clients, { port: entry, allowHalfOpen: true });
  for (const { socket } of lines) socket.end(REQUEST);
  return { upstream, entry, lines };
}

/** Clients that give up in the middle of their requests, with a RST: what becomes of the proxy's connections to the upstream? */
async function resets(
  bench: Bench,
  clients: number,
  { proxy, left }: { readonly proxy: Proxy; readonly left: number },
): Promise<void> {
  const back = bench.predict("left behind the proxy by clients that reset", left);
  await withSockets(async (own) => {
    const { port: upstream, lines: served } = await own.listen({ allowHalfOpen: true });
    const entry = await listenAsProxy(own, upstream, proxy);
    const lines = await own.dialAll(clients, { port: entry });
    for (const { socket } of lines) socket.write(REQUEST);
    // A RST that overtakes the request is another story: until libuv 1.52 it passes for an end.
    const asked = (): number => served.filter(({ bytes }) => bytes === REQUEST.length).length;
    await bench.until(asked, (count) => count === clients);
    for (const { socket } of lines) socket.resetAndDestroy();
    await settled(bench, 0, ["server", "ESTABLISHED", entry]);
    await bench.pass(AFTERWARDS_MS);
    back.measured(await settled(bench, left, ["client", "ESTABLISHED", upstream]));
  });
}

async function listenAsProxy(own: OwnSockets, upstream: number, proxy: Proxy): Promise<number> {
  const { allowHalfOpen, join } = proxy;
  const { port } = await own.listen({
    allowHalfOpen,
    pauseOnConnect: true,
    onLine: ({ socket: front }) => {
      const dialled = own.dial({ port: upstream, allowHalfOpen, reads: false });
      void dialled.then(({ socket: back }) => join(front, back));
    },
  });
  return port;
}

function answered(lines: readonly Line[]): number {
  return lines.filter(({ bytes }) => bytes === ANSWER.length).length;
}

/** Waits until `count` clients have seen the end of the stream. */
function ended(bench: Bench, lines: readonly Line[], count: number): Promise<number> {
  return bench.until(
    () => lines.filter(({ hasEnded }) => hasEnded).length,
    (seen) => seen === count,
  );
}

const broken = {
  about: "the proxy swallows the FIN: the client waits for the answer, the upstream for the end",
  run: (bench: Bench, { clients }: Params) =>
    withSockets(async (own) => {
      bench.say(`${clients} clients send a request and a FIN. The upstream answers at the FIN.`);
      const theirs = bench.predict("FIN_WAIT2, clients", clients, "their program holds them");
      const front = bench.predict("CLOSE_WAIT, proxy's front", clients, "one for each of these");
      const back = bench.predict("ESTABLISHED, proxy's back", clients, "told nothing");
      const timers = bench.predict("timers on any of them", 0, "nothing will ever end this");
      const accepted = bench.predict(
        "handshakes (TcpPassiveOpens)",
        2 * clients,
        "one before the proxy, one behind it",
      );
      const answers = bench.predict("clients answered", 0);
      const { upstream, entry, lines } = await meet(own, clients, swallowsFin);
      theirs.measured(await settled(bench, clients, ["client", "FIN_WAIT2", entry]));
      front.measured(await settled(bench, clients, ["server", "CLOSE_WAIT", entry]));
      back.measured(await settled(bench, clients, ["client", "ESTABLISHED", upstream]));
      timers.measured(await timersGone(bench));
      accepted.measured(bench.counted("TcpPassiveOpens"));
      answers.measured(answered(lines));
    }),
};

/** Waits for timers to run out that belong to the data before, and returns how many are left. */
function timersGone(bench: Bench): Promise<number> {
  return bench.until(
    () => bench.sockets().filter(({ timer }) => timer !== undefined).length,
    (count) => count === 0,
    2_000,
  );
}

/** Everybody is answered, and nothing is left but what TCP wants. */
async function healthy(bench: Bench, clients: number, proxy?: Proxy): Promise<void> {
  await withSockets(async (own) => {
    const answers = bench.predict("clients answered", clients);
    const theirs = bench.predict("FIN_WAIT2, clients", 0);
    const ours = bench.predict("CLOSE_WAIT, anywhere", 0);
    const timeWait = bench.predict(
      "TIME_WAIT, clients",
      clients,
      "the client's FIN was the first of its connection",
    );
    const { entry, lines } = await meet(own, clients, proxy);
    await ended(bench, lines, clients);
    answers.measured(answered(lines));
    timeWait.measured(await settled(bench, clients, ["client", "TIME_WAIT", entry]));
    theirs.measured(rows(bench, "client", "FIN_WAIT2", entry).length);
    ours.measured(bench.sockets().filter(({ state }) => state === "CLOSE_WAIT").length);
  });
}

const control = {
  about: "the same clients and the same upstream without a proxy between them",
  run: (bench: Bench, { clients }: Params) => healthy(bench, clients),
};

const propagate = {
  about: "the end of one stream becomes the end of the next, and of no other; an error ends both",
  run: async (bench: Bench, { clients }: Params) => {
    await healthy(bench, clients, passesErrorsOn);
    await resets(bench, clients, { proxy: passesErrorsOn, left: 0 });
  },
};

const endsAlone = {
  about: "pipe() both ways passes ends on, and no errors: a client's RST leaves the back open",
  run: async (bench: Bench, { clients }: Params) => {
    await healthy(bench, clients, passesFinOn);
    await resets(bench, clients, { proxy: passesFinOn, left: clients });
  },
};

/** Predictions for a proxy that leaves nothing in CLOSE_WAIT, and still answers nobody. */
async function unanswered(
  bench: Bench,
  clients: number,
  { proxy, left }: { readonly proxy: Proxy; readonly left: number },
): Promise<void> {
  await withSockets(async (own) => {
    const ends = bench.predict("clients that see a clean end", clients);
    const answers = bench.predict("clients answered", 0);
    const front = bench.predict("CLOSE_WAIT, proxy's front", 0);
    const back = bench.predict("ESTABLISHED, proxy's back", left);
    const { upstream, entry, lines } = await meet(own, clients, proxy);
    ends.measured(await ended(bench, lines, clients));
    answers.measured(answered(lines));
    front.measured(await settled(bench, 0, ["server", "CLOSE_WAIT", entry]));
    back.measured(await settled(bench, left, ["client", "ESTABLISHED", upstream]));
  });
}

const idleTimeout = {
  about: "an idle time-out: the pairs are swept up, though nobody gets an answer by that",
  run: (bench: Bench, { clients }: Params) =>
    unanswered(bench, clients, { proxy: sweepsUp, left: 0 }),
};

const closeEverything = {
  about: "close both connections at the first FIN: no pairs, and no answers",
  run: (bench: Bench, { clients }: Params) =>
    unanswered(bench, clients, { proxy: closesBoth, left: 0 }),
};

const nodesDefault = {
  about: "allowHalfOpen: false, Node's default, and pipe(): nothing is left over, and no answer",
  run: (bench: Bench, { clients }: Params) =>
    unanswered(bench, clients, { proxy: leavesItToNode, left: 0 }),
};

export default defineLab({
  name: "proxy-half-close",
  summary: "a proxy that does not pass a FIN on leaks connections in pairs",
  tags: ["closing"],
  params: { clients: [23, "clients that send a request and a FIN"] },
  story: {
    see: "For each client one CLOSE_WAIT and one ESTABLISHED stay at the proxy, and one FIN_WAIT2 at the client. Nobody is answered, no timer runs.",
    why:
      "A proxy is the end of two connections, and TCP does not connect them. When the client's FIN arrives its socket is in CLOSE_WAIT until the proxy closes it; " +
      "the other connection knows nothing of it unless the proxy calls shutdown() there. Proxies that copy both directions and clean up when both copies are over wait for " +
      "an upstream that waits for the FIN. If the proxy has passed the FIN on and the upstream never closes, the pair is CLOSE_WAIT in front and FIN_WAIT2 at the back: " +
      "equal numbers of the two at one process are its signature.",
    recognise: [
      ["tcp-states --by process", "a proxy with as many CLOSE_WAIT as FIN_WAIT2 or ESTABLISHED"],
      ["ss -tanp state close-wait", "all with the proxy's own port as the local one"],
      ["ss -tanop state fin-wait-2", "at the client: owned rows without a timer"],
      [
        "printf hello | nc -N HOST PORT",
        "a half-close by hand: direct it is answered, through the proxy it hangs",
      ],
    ],
    symptoms: [
      "CLOSE_WAIT and FIN_WAIT2 in equal numbers",
      "a request that hangs through the proxy and not without it",
      "an answer that is cut off or empty",
      "EMFILE in the proxy, in the end",
    ],
    fix: [
      "In Node: allowHalfOpen: true on both sides, and stream.pipeline() for each direction. pipe() passes ends on and no errors: a client's RST leaves the other connection open, and an 'error' without a listener ends the proxy.",
      "In Go: CloseWrite() on the other connection when a copy ends; close both when both have ended, or when one has failed.",
      "A time-out for half-closed connections as a safety net (HAProxy: timeout client-fin, timeout tunnel; Envoy: idle_timeout).",
      "Close both at once only after an error, never after a FIN.",
    ],
    reports: ["kubernetes/kubernetes#18354", "linkerd/linkerd2#5180"],
  },
  arms: {
    broken,
    control,
    fixed: [propagate, idleTimeout],
    myth: [closeEverything, nodesDefault, endsAlone],
  },
});
