/**
 * one-address: the server listens, the port is right, and connect() is refused: it listens at another address.
 *
 * A listener is found by port and local address. Bound to 127.0.0.1 it is none for the address of the network card, for a container's
 * own address, or for ::1: there the kernel answers as if nobody listened at all. In a container that is the usual reason why a
 * published port does not work; on one machine, that `localhost` may be ::1.
 *
 * WATCH   the local address of the LISTEN row: 127.0.0.1 or [::1] instead of 0.0.0.0 or *; a RST for each SYN (TcpOutRsts)
 * CAVEAT  127.0.0.2 stands for the address of a network card: to the kernel it is just another address of this machine
 * NEEDS   IPv6 on the loopback interface
 * SEE     inet_lookup_listener() in net/ipv4/inet_hashtables.c; ip(7); IPV6_V6ONLY in ipv6(7)
 */
import { networkInterfaces } from "node:os";
import type { Bench } from "../lab/bench.ts";
import { defineLab } from "../lab/define.ts";
import { countErrno, rows, withSockets, type Line, type OwnSockets } from "../lab/network.ts";

const LOCAL = "127.0.0.1";
const OUTER = "127.0.0.2";
const IPV6 = "::1";
const HELLO = "hello, TCP";

type Params = { readonly clients: number };

/** An address at which clients call, and whether the server is to be heard there. */
type Address = readonly [host: string, isServed: boolean];

/** Clients that connect and say something; those that got through wait for the answer. */
async function calls(
  bench: Bench,
  own: OwnSockets,
  { clients, host, port }: { clients: number; host: string; port: number },
): Promise<readonly Line[]> {
  const lines = await own.dialAll(clients, { host, port });
  for (const { errno, socket } of lines) if (errno === "none") socket.write(HELLO);
  await bench.until(
    () => lines.every(({ bytes, errno }) => bytes === HELLO.length || errno !== "none"),
    (all) => all,
  );
  return lines;
}

function answered(lines: readonly Line[]): number {
  return lines.filter(({ bytes }) => bytes === HELLO.length).length;
}

/** A server that listens on one address, and clients that call it at several. */
async function visit(
  bench: Bench,
  { clients }: Params,
  { listensOn, at }: { readonly listensOn: string; readonly at: readonly Address[] },
): Promise<void> {
  bench.need(
    (networkInterfaces()["lo"] ?? []).some(({ family }) => family === "IPv6"),
    "needs IPv6 on the loopback interface",
  );
  const served = at.filter(([, isServed]) => isServed).length;
  const claims = at.map(([host, isServed]) => ({
    host,
    refused: bench.predict(`${host}: ECONNREFUSED`, isServed ? 0 : clients),
    answers: bench.predict(`${host}: clients answered`, isServed ? clients : 0),
  }));
  const listeners = bench.predict("LISTEN rows on its port", 1, "it does listen");
  const resets = bench.predict("RSTs sent (TcpOutRsts)", (at.length - served) * clients);
  const accepted = bench.predict("connections that the server has seen", served * clients);
  const server = await bench.server(["--host", listensOn]);
  const { port } = server;
  bench.say(`The server listens on ${listensOn}.`);
  await withSockets(async (own) => {
    for (const { host, answers, refused } of claims) {
      const lines = await calls(bench, own, { clients, host, port });
      answers.measured(answered(lines));
      refused.measured(countErrno(lines, "ECONNREFUSED"));
    }
    listeners.measured(rows(bench, "server", "LISTEN", port).length);
    resets.measured(bench.counted("TcpOutRsts"));
  });
  accepted.measured((await server.stop()).accepted);
}

const broken = {
  about: "listening on 127.0.0.1, asked for at another address of the same machine, and at ::1",
  run: (bench: Bench, params: Params) => {
    const at = [[OUTER, false] as const, [IPV6, false] as const];
    return visit(bench, params, { listensOn: LOCAL, at });
  },
};

const control = {
  about: "listening on 127.0.0.1, asked for there",
  run: (bench: Bench, params: Params) =>
    visit(bench, params, { listensOn: LOCAL, at: [[LOCAL, true]] }),
};

const everywhere = {
  about: "listening on ::, which is every address, those of IPv4 included",
  run: (bench: Bench, params: Params) => {
    const at = [[LOCAL, true] as const, [OUTER, true] as const, [IPV6, true] as const];
    return visit(bench, params, { listensOn: "::", at });
  },
};

const everyIpv4 = {
  about: "0.0.0.0 is every address: of IPv4; whoever comes to ::1 is refused all the same",
  run: (bench: Bench, params: Params) => {
    const at = [[OUTER, true] as const, [IPV6, false] as const];
    return visit(bench, params, { listensOn: "0.0.0.0", at });
  },
};

/** Accepts in the server's place, as docker-proxy does, and calls the server at the outer address once the requests are there. */
async function forwarded(bench: Bench, clients: number): Promise<readonly Line[]> {
  const { port: inner } = await bench.server(["--host", LOCAL]);
  let lines: readonly Line[] = [];
  await withSockets(async (own) => {
    const proxy = await own.listen({ pauseOnConnect: true });
    lines = await own.dialAll(clients, { port: proxy.port });
    for (const { socket } of lines) socket.write(HELLO);
    await bench.until(
      () => rows(bench, "server", "ESTABLISHED", proxy.port).filter(({ recvQ = 0 }) => recvQ > 0),
      ({ length }) => length === clients,
    );
    for (const front of proxy.lines) {
      const back = await own.dial({ host: OUTER, port: inner });
      if (back.errno !== "none") front.socket.destroy();
    }
    await bench.until(
      () => lines.every(({ errno }) => errno !== "none"),
      (all) => all,
    );
  });
  return lines;
}

const published = {
  about:
    "publish the port: a forwarder accepts in the server's place, and then finds nobody either",
  run: async (bench: Bench, { clients }: Params) => {
    const handshakes = bench.predict("handshakes (TcpPassiveOpens)", clients, "with the forwarder");
    const refused = bench.predict("clients that see ECONNREFUSED", 0, "the forwarder listens");
    const reset = bench.predict("clients that see ECONNRESET", clients, "their request is unread");
    const answers = bench.predict("clients answered", 0);
    const lines = await forwarded(bench, clients);
    handshakes.measured(bench.counted("TcpPassiveOpens"));
    refused.measured(countErrno(lines, "ECONNREFUSED"));
    reset.measured(countErrno(lines, "ECONNRESET"));
    answers.measured(answered(lines));
  },
};

export default defineLab({
  name: "one-address",
  summary: "a server on 127.0.0.1 is refused at every other address: the published port is dead",
  tags: ["handshakes"],
  params: { clients: [23, "clients for each address", [1, 200]] },
  story: {
    see: "ss shows LISTEN, the port is right, a request from the same shell works, and everybody else gets ECONNREFUSED.",
    why:
      "The kernel looks for a listener by port and local address, and one that is bound to 127.0.0.1 matches nothing else: a SYN for another address of the same machine is answered with a RST, " +
      "as for a closed port. Development servers bind to 127.0.0.1 so that nobody else gets in; put into a container they keep everybody out, for inside it 127.0.0.1 is the container's own loopback. " +
      "A forwarder in front (docker-proxy, kubectl port-forward, ssh -L) accepts by itself and finds out later: its clients see a connection that is reset or ends empty. " +
      "And localhost may be ::1, for which 127.0.0.1 and even 0.0.0.0 are no listeners.",
    recognise: [
      [
        "ss -tln '( sport = :PORT )'",
        "127.0.0.1:PORT or [::1]:PORT: this address only; 0.0.0.0:PORT: IPv4; *:PORT: all",
      ],
      [
        "nsenter -t PID -n ss -tln",
        "the same inside a container that has no ss: from outside, by a process in it",
      ],
      ["getent ahosts localhost", "which addresses a name has, and in which order"],
      ["nstat -az TcpOutRsts", "on the server's side: a RST for each refused SYN"],
    ],
    symptoms: [
      "ECONNREFUSED from connect()",
      "ECONNREFUSED for localhost, not for 127.0.0.1",
      "ECONNREFUSED although ss shows LISTEN on that port",
      "ECONNRESET or an empty answer from a published port of a container",
    ],
    fix: [
      "In a container listen on :: (or 0.0.0.0), and restrict who may come where the port is published: -p 127.0.0.1:8080:8080. In Node: server.listen(port) without a host.",
      "On a machine of its own: the address of the interface that is meant, rather than all; a firewall for the rest.",
      "Clients on the same machine: 127.0.0.1 instead of localhost, or a library that tries both families.",
    ],
    needs: ["IPv6 on the loopback interface"],
    reports: ["nodejs/node#40537", "nodejs/node#40702", "moby/moby#10900"],
  },
  arms: { broken, control, fixed: [everywhere], myth: [everyIpv4, published] },
});
