/**
 * port-search-cliff: connect() becomes many times slower as soon as half of the ports are in use, long before it fails.
 *
 * To choose a local port the kernel starts somewhere in the range and tries every second port, those of one parity, and only
 * then the others. While the first half has room, the first try is nearly always free. From the moment when it is full, every
 * connect() walks through all of it before it finds anything: the cost jumps, in proportion to the size of the range.
 *
 * WATCH   the median of connect() by fill level: flat, then a step at one half, then flat again
 * CAVEAT  milliseconds differ from machine to machine: what is predicted is ratios within one run
 * SEE     __inet_hash_connect() in net/ipv4/inet_hashtables.c: "offset", "remaining", and the loop that steps by two
 */
import type { Bench } from "../lab/bench.ts";
import { atLeast, atMost } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import type { ChurnResult } from "../protocol/churn.ts";

const FIRST_PORT = 20_000;
const CLIFF_FACTOR = 3;
const FLAT_FACTOR = 2;

type Params = { readonly ports: number };

/** The world made small: the default range holds 28,232 ports, and there the step is seven times as high. */
function setRange(bench: Bench, ports: number): void {
  bench.sysctl("net.ipv4.ip_local_port_range", `${FIRST_PORT} ${FIRST_PORT + ports - 1}`);
  bench.sysctl("net.ipv4.tcp_tw_reuse", 0);
}

/** The median of connect() while the range was `step` to `step + 1` tenths full. */
function median({ connectByFill }: ChurnResult, step: number): number {
  return connectByFill[step]?.p50Ms ?? NaN;
}

/** How many times slower connect() was at one fill level than at another, to one decimal. */
function ratio(result: ChurnResult, later: number, earlier: number): number {
  return Math.round((median(result, later) / median(result, earlier)) * 10) / 10;
}

/** Each RST that hits a TIME_WAIT ends it, and its port serves once more. */
function assassinations(bench: Bench): { counter: string; value: number; because: string } {
  const because = "a RST ends a TIME_WAIT early, and its port serves once more (RFC 1337)";
  return { counter: "TcpOutRsts", value: bench.counted("TcpOutRsts"), because };
}

/** Uses up every port of the range, and then one more. */
async function fillRange(
  bench: Bench,
  ports: number,
  flags: readonly string[] = [],
): Promise<ChurnResult> {
  setRange(bench, ports);
  await bench.server();
  const successes = bench.predict("connections until the first error", ports, "the whole range");
  const handshakes = bench.predict("handshakes (TcpActiveOpens)", ports);
  const result = await bench.run<ChurnResult>("bomb", ["--count", `${2 * ports}`, ...flags]);
  successes.measured(result.successes, assassinations(bench));
  handshakes.measured(bench.counted("TcpActiveOpens"), assassinations(bench));
  return result;
}

const broken = {
  about: "the kernel searches: below half full it finds a port at once, above it walks",
  run: async (bench: Bench, { ports }: Params) => {
    bench.say(
      `A range of ${ports} ports (default 28232) is filled; connect() is timed by fill level.`,
    );
    const flat = bench.predict(
      "40 % full: times slower than empty",
      atMost(FLAT_FACTOR),
      "the first try is free",
    );
    const because = `it walks ${ports / 2} ports first; how long that takes depends on the machine`;
    const cliff = bench.predict(
      "60 % full: times slower than 40 %",
      atLeast(CLIFF_FACTOR),
      because,
    );
    const after = bench.predict(
      "90 % full: times slower than 60 %",
      atMost(FLAT_FACTOR),
      "the walk is the same until the end",
    );
    const errno = bench.predict("the error at the end", "EADDRNOTAVAIL");
    const waiting = bench.predict("TIME_WAIT then, client's side", ports, "one for each port");
    const theirs = bench.predict("TIME_WAIT then, server's side", 0);
    const result = await fillRange(bench, ports);
    flat.measured(ratio(result, 3, 0));
    cliff.measured(ratio(result, 6, 3));
    after.measured(ratio(result, 9, 6));
    errno.measured(Object.keys(result.failures)[0] ?? "none");
    const view = await bench.settledView();
    waiting.measured(view.clients.TIME_WAIT, assassinations(bench));
    theirs.measured(view.server.TIME_WAIT);
  },
};

/** As many connections in a range so wide that it never gets half full. */
async function staysFlat(bench: Bench, range: number, count: number): Promise<void> {
  setRange(bench, range);
  await bench.server();
  const connected = bench.predict("connections", count);
  const errno = bench.predict("the first error", "none");
  const last = Math.floor((10 * count) / range) - 1;
  const flat = bench.predict(`${last}0 % full: times slower than empty`, atMost(FLAT_FACTOR));
  const handshakes = bench.predict("handshakes (TcpActiveOpens)", count);
  const result = await bench.run<ChurnResult>("bomb", ["--count", `${count}`]);
  connected.measured(result.successes);
  errno.measured(Object.keys(result.failures)[0] ?? "none");
  flat.measured(ratio(result, last, 0));
  handshakes.measured(bench.counted("TcpActiveOpens"));
}

const control = {
  about: "the same range, filled to 40 %: no step",
  run: (bench: Bench, { ports }: Params) => staysFlat(bench, ports, Math.floor(ports * 0.4)),
};

const walkPorts = {
  about: "the program walks the range itself (localPort): no search, no step",
  run: async (bench: Bench, { ports }: Params) => {
    const flat = bench.predict("60 % full: times slower than 40 %", atMost(FLAT_FACTOR));
    const end = bench.predict("90 % full: times slower than 40 %", atMost(FLAT_FACTOR));
    const result = await fillRange(bench, ports, ["--walk-ports"]);
    flat.measured(ratio(result, 6, 3));
    end.measured(ratio(result, 9, 3));
  },
};

const widerRange = {
  about: "a range wide enough to stay below one half: as many connections, no step",
  run: (bench: Bench, { ports }: Params) => {
    setRange(bench, ports); // As in the broken arm; and now the cure.
    return staysFlat(bench, Math.floor(ports * 2.5), ports);
  },
};

const twoDestinations = {
  about: "a second destination: more connections fit, and the step is where it was",
  run: async (bench: Bench, { ports }: Params) => {
    setRange(bench, ports);
    await bench.server();
    await bench.server();
    const cliff = bench.predict("60 % full: times slower than 40 %", atLeast(CLIFF_FACTOR));
    const handshakes = bench.predict("handshakes (TcpActiveOpens)", 2 * ports);
    const flags = ["--count", `${4 * ports}`, "--destinations", "2"];
    const result = await bench.run<ChurnResult>("bomb", flags);
    cliff.measured(ratio(result, 6, 3));
    handshakes.measured(bench.counted("TcpActiveOpens"), assassinations(bench));
  },
};

export default defineLab({
  name: "port-search-cliff",
  summary: "connect() slows down many times once half of the ports are in use",
  tags: ["ports"],
  params: {
    ports: [
      4000,
      "size of the ephemeral port range; the default of Linux is 28232",
      // In a smaller one the walk is short beside the rest of a connect(): 2,000 ports make it 2.7 times slower.
      [4_000, 18_000],
    ],
  },
  story: {
    see: "The median of connect() is flat until the range is half full; from there on it is many times higher, and no error says why.",
    why:
      "connect() has to find a local port whose 4-tuple is free. The kernel starts at a place that depends on the destination and tries every " +
      "second port of the range; the other parity is kept for bind(). Once all of the first parity are in use, every connect() " +
      "tries them all, one hash lookup each, before it comes to the others. With the default range that is 14,116 lookups: hundreds of " +
      "microseconds to milliseconds of CPU in the kernel, for each connection, while nothing but latency shows it.",
    recognise: [
      ["tcp-states", "TIME_WAIT or ESTABLISHED above half of the port range to one destination"],
      ["perf top -g", "__inet_hash_connect and __inet_check_established at the top"],
      [
        "strace -c -f -e trace=connect -p PID",
        "microseconds per connect(); compare with an idle machine",
      ],
    ],
    symptoms: [
      "connect() slow although the server answers at once",
      "the CPU busy in the kernel while connections are opened",
      "many TIME_WAIT on the client's side",
    ],
    fix: [
      "Stay below one half of the range: reuse connections (in Node: new http.Agent({ keepAlive: true }), the default since Node 19), or widen net.ipv4.ip_local_port_range.",
      "More source addresses, so that each has a range of its own.",
      "Load generators: walk the range with explicit local ports (in Node: net.connect({ localPort }); bomb --walk-ports does).",
    ],
    reports: ["haproxy/haproxy#2050", "tempesta-tech/tempesta#1419"],
  },
  arms: { broken, control, fixed: [walkPorts, widerRange], myth: [twoDestinations] },
});
