/**
 * happy-eyeballs: a slow network and a second address: Node gives up on the right one after 250 ms (500 ms in Node 26).
 *
 * A name often has an IPv4 and an IPv6 address, and one of the two may not work. Since version 20 Node tries them in turn (RFC 8305,
 * simplified): each attempt but the last has 250 ms, then it is cut off and the next one begins. Where a handshake takes longer than that (far
 * away, mobile, a lost SYN) the good address is abandoned, the bad one fails, and the error is an AggregateError with ETIMEDOUT in it.
 *
 * WATCH   SYN_SENT that is gone after 250 ms, before the kernel has repeated a single SYN
 * CAVEAT  the network is made slow by losing the first SYN: the handshake then takes a second
 * NEEDS   nft, and IPv6 on the loopback interface
 * SEE     internalConnectMultiple() in Node's lib/net.js; autoSelectFamilyAttemptTimeout; RFC 8305 section 5
 */
import {
  getDefaultAutoSelectFamilyAttemptTimeout,
  type LookupFunction,
  type TcpNetConnectOpts,
} from "node:net";
import { networkInterfaces } from "node:os";
import type { Bench } from "../lab/bench.ts";
import { atLeast, between } from "../lab/claim.ts";
import { defineLab } from "../lab/define.ts";
import { thisHost } from "../lab/hosts.ts";
import { countErrno, rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const IPV4 = { address: "127.0.0.1", family: 4 };
const IPV6 = { address: "::1", family: 6 };
const SLOW_MS = 950;
const PATIENCE_MS = 5_000;

type Params = { readonly clients: number };
type Address = typeof IPV4;

/** A resolver that knows one name, with these addresses in this order. */
function resolver(addresses: readonly Address[]): LookupFunction {
  return (_name, { all }, callback) => {
    const [first = IPV4] = addresses;
    if (all === true) callback(null, [...addresses]);
    else callback(null, first.address, first.family);
  };
}

/** The network loses the first SYN of each connection to this port: its handshake takes a second. */
function slowNetwork(bench: Bench, port: number): void {
  thisHost(bench).filter("input", [
    `ip protocol tcp tcp dport ${port} tcp flags & (syn | ack) == syn drop`,
  ]);
}

/** Many clients at once that connect by name; the network recovers once they have all begun. */
async function crowd(
  bench: Bench,
  own: OwnSockets,
  order: { clients: number; isSlow: boolean; options: Partial<TcpNetConnectOpts> },
): Promise<{ port: number; lines: readonly Line[] }> {
  bench.need(
    (networkInterfaces()["lo"] ?? []).some(({ family }) => family === "IPv6"),
    "needs IPv6 on the loopback interface",
  );
  const { port } = await own.listen();
  if (order.isSlow) slowNetwork(bench, port);
  const dials = Array.from({ length: order.clients }, () =>
    own.dial({ port, host: "service.test", ...order.options }),
  );
  if (order.isSlow) {
    await bench.until(
      () => rows(bench, "client", "SYN_SENT", port).length,
      (count) => count === order.clients,
      200,
    );
    thisHost(bench).filter("input", []);
  }
  return { port, lines: await Promise.all(dials) };
}

/** The addresses are found good and bad, and the good one is given up. */
async function givesUp(
  bench: Bench,
  clients: number,
  options: Partial<TcpNetConnectOpts>,
): Promise<void> {
  const limitMs = getDefaultAutoSelectFamilyAttemptTimeout();
  const failed = bench.predict("clients that fail: ETIMEDOUT", clients, "the first of two errors");
  const after = bench.predict(
    "the first one after (ms)",
    between(Math.floor(limitMs * 0.95), SLOW_MS),
    `Node's limit is ${limitMs} ms; the handshake takes 1000`,
  );
  const repeated = bench.predict("SYNs repeated (TCPSynRetrans)", 0, "the kernel had no time to");
  const waiting = bench.predict("SYN_SENT afterwards", 0);
  const refused = bench.predict("RSTs sent (TcpOutRsts)", clients, "nobody listens on ::1");
  await withSockets(async (own) => {
    const lookup = resolver([IPV4, IPV6]);
    const order = { clients, isSlow: true, options: { lookup, ...options } };
    const { port, lines } = await crowd(bench, own, order);
    failed.measured(countErrno(lines, "ETIMEDOUT"));
    after.measured(Math.round(Math.min(...lines.map(({ connectMs }) => connectMs))));
    repeated.measured(bench.counted("TcpExtTCPSynRetrans"));
    waiting.measured(rows(bench, "client", "SYN_SENT", port).length);
    refused.measured(bench.counted("TcpOutRsts"));
  });
}

const broken = {
  about: "a slow IPv4 address that works, and an IPv6 address that does not",
  run: async (bench: Bench, { clients }: Params) => {
    bench.say(
      `${clients} clients connect to a name with two addresses; the server listens on ${IPV4.address}.`,
    );
    await givesUp(bench, clients, {});
  },
};

/** They connect, at once or after the second that the network needs; `refused` of them have tried the bad address before. */
async function connects(
  bench: Bench,
  order: {
    clients: number;
    isSlow: boolean;
    options: Partial<TcpNetConnectOpts>;
    refused?: number;
  },
): Promise<void> {
  const { clients, isSlow, refused = 0 } = order;
  const connected = bench.predict("clients that connect", clients);
  const slow = bench.predict(`of these slower than ${SLOW_MS} ms`, isSlow ? clients : 0);
  const repeated = bench.predict(
    "SYNs repeated (TCPSynRetrans)",
    isSlow ? atLeast(clients) : 0,
    isSlow ? "the second one gets through" : "nothing is lost",
  );
  const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients);
  const resets = bench.predict("RSTs sent (TcpOutRsts)", refused, "one for each try at ::1");
  await withSockets(async (own) => {
    const { lines } = await crowd(bench, own, order);
    connected.measured(countErrno(lines, "none"));
    slow.measured(lines.filter(({ connectMs }) => connectMs > SLOW_MS).length);
    repeated.measured(bench.counted("TcpExtTCPSynRetrans"));
    handshakes.measured(await bench.countedUpTo("TcpPassiveOpens", clients));
    resets.measured(bench.counted("TcpOutRsts"));
  });
}

const control = {
  about: "the same two addresses in the same order, on a fast network: the first one is enough",
  run: (bench: Bench, { clients }: Params) =>
    connects(bench, { clients, isSlow: false, options: { lookup: resolver([IPV4, IPV6]) } }),
};

const longerAttempt = {
  about: "autoSelectFamilyAttemptTimeout: more than a handshake takes, here 5 s",
  run: (bench: Bench, { clients }: Params) => {
    const lookup = resolver([IPV4, IPV6]);
    const options = { lookup, autoSelectFamilyAttemptTimeout: PATIENCE_MS };
    return connects(bench, { clients, isSlow: true, options });
  },
};

const oneFamily = {
  about: "one address only (family: 4): there is nothing to select, and no limit per attempt",
  run: (bench: Bench, { clients }: Params) =>
    connects(bench, {
      clients,
      isSlow: true,
      options: { lookup: resolver([IPV4, IPV6]), family: 4 },
    }),
};

const goodOneLast = {
  about: "the good address last: for the last one there is no limit, however slow the network",
  run: (bench: Bench, { clients }: Params) => {
    const options = { lookup: resolver([IPV6, IPV4]) };
    return connects(bench, { clients, isSlow: true, options, refused: clients });
  },
};

const socketTimeout = {
  about: "a longer timeout for the socket: the limit of an attempt is another one",
  run: (bench: Bench, { clients }: Params) => givesUp(bench, clients, { timeout: PATIENCE_MS }),
};

const switchedOff = {
  about: "autoSelectFamily: false: only the first address is tried, and it may be the bad one",
  run: async (bench: Bench, { clients }: Params) => {
    const refused = bench.predict("clients that fail: ECONNREFUSED", clients, "::1 came first");
    const resets = bench.predict("RSTs sent (TcpOutRsts)", clients);
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", 0);
    await withSockets(async (own) => {
      const options = { lookup: resolver([IPV6, IPV4]), autoSelectFamily: false };
      const { lines } = await crowd(bench, own, { clients, isSlow: false, options });
      refused.measured(countErrno(lines, "ECONNREFUSED"));
      resets.measured(bench.counted("TcpOutRsts"));
      handshakes.measured(bench.counted("TcpPassiveOpens"));
    });
  },
};

export default defineLab({
  name: "happy-eyeballs",
  summary: "two addresses and a slow network: the right one is given up after 250 ms",
  tags: ["handshakes"],
  // More of them do not all get their turn within the time of one attempt.
  params: { clients: [23, "clients", [1, 200]] },
  story: {
    see: "Connects fail with an AggregateError (ETIMEDOUT) after 250 ms, although the server would have answered after a second.",
    why:
      "With more than one address somebody has to decide how long to wait for the first. RFC 8305 starts the next attempt beside the first one; Node " +
      "cuts the first one off instead; only the last has as long as it takes. 250 ms (500 ms in Node 26) are short for a handshake across the world, over a satellite, or with one lost SYN, which " +
      "alone costs 1 s. The error lists all attempts, its message is empty, and a name with a single address does not show the " +
      "problem at all. The other way round, a server that listens on 127.0.0.1 only and a client whose localhost is ::1, needs the second attempt.",
    recognise: [
      [
        "node -e \"net.connect(443, 'HOST').on('error', console.log)\"",
        "AggregateError [ETIMEDOUT], with one error for each address",
      ],
      [
        "getent ahosts HOST",
        "the addresses; Node begins with the first one, then takes IPv6 and IPv4 in turn",
      ],
      [
        "ss -tln '( sport = :PORT )'",
        "127.0.0.1 or [::1] or *: on which of them the server listens",
      ],
      ["curl -4 -v HOST; curl -6 -v HOST", "which of the families works, and how long it takes"],
    ],
    symptoms: [
      "ETIMEDOUT from connect() after 250 ms (Node 26: 500 ms)",
      "AggregateError with an empty message",
      "ECONNREFUSED for localhost, not for 127.0.0.1",
    ],
    fix: [
      "net.setDefaultAutoSelectFamilyAttemptTimeout(2000), or node --network-family-autoselection-attempt-timeout=2000.",
      "Remove addresses that do not work from DNS; give a machine without IPv6 no IPv6 addresses to try.",
      "Servers: listen on both (in Node without a host), clients on the same machine: 127.0.0.1 instead of localhost.",
    ],
    needs: ["nft (package nftables), to lose packets", "IPv6 on the loopback interface"],
    reports: ["nodejs/node#54359", "nodejs/node#52216", "nodejs/node#48145"],
  },
  arms: {
    broken,
    control,
    fixed: [longerAttempt, oneFamily, goodOneLast],
    myth: [socketTimeout, switchedOff],
  },
});
