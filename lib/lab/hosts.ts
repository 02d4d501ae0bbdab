/**
 * hosts: more machines than one, as far as TCP can tell: network namespaces inside the sandbox, joined by cables.
 *
 * The arm's own network is the first host. Others are held open by a process that sleeps; their cables (veth pairs), rules and
 * parameters are gone with it. Sources: unshare(1), nsenter(1), veth(4), network_namespaces(7), nft(8).
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { counter, readCounters, type Counters } from "../kernel/counters.ts";
import { diesWithParent } from "../kernel/process.ts";
import { isInSandbox, networkNamespace } from "../kernel/sandbox.ts";
import { hasTool } from "../kernel/tools.ts";
import { parseProcNet } from "../sockets/proc-net.ts";
import type { SocketRecord } from "../sockets/record.ts";
import type { Bench } from "./bench.ts";

/** Where in the path of a packet a rule stands: before routing, on its way in, on its way through, on its way out. */
export type Hook = "prerouting" | "input" | "forward" | "output" | "postrouting";

/** One end of a cable. */
type Plug = { readonly host: Host; readonly name: string; readonly address: string };

/** Client - router - server: three hosts. The router forwards; what else it does is up to the lab. */
export type Route = { readonly client: Host; readonly router: Host; readonly server: Host };

/** Their addresses; the keys `inside` and `outside` are the names of the router's interfaces, too. */
export const ROUTE = {
  client: "10.77.1.2",
  inside: "10.77.1.1",
  outside: "10.77.2.1",
  server: "10.77.2.2",
} as const;

const HOLD_S = "60";

/** A host: this process's own network, or one of its own. */
export class Host {
  readonly #bench: Bench;
  /** Its name, unless it is the arm's own network. */
  readonly #who: { readonly host?: string };
  readonly #holder: ChildProcess | undefined;
  readonly #before: Counters;

  constructor(bench: Bench, other?: { readonly name: string; readonly holder: ChildProcess }) {
    this.#bench = bench;
    this.#who = other === undefined ? {} : { host: other.name };
    this.#holder = other?.holder;
    this.#before = readCounters(this.pid);
  }

  /** A process in this network. */
  get pid(): number {
    return this.#holder?.pid ?? process.pid;
  }

  /** Words before a command that make it run in this network; each execs what follows, so that the pid stays. */
  get through(): readonly string[] {
    return this.#holder === undefined ? [] : ["nsenter", "-t", `${this.pid}`, "-n", "--"];
  }

  /** All TCP sockets of this host that are of IPv4, now. */
  sockets(): readonly SocketRecord[] {
    return parseProcNet(readFileSync(`/proc/${this.pid}/net/tcp`, "latin1")).records;
  }

  /** A kernel counter's increase since the host was made. */
  counted(name: string): number {
    return counter(readCounters(this.pid), name) - (this.#before[name] ?? 0);
  }

  /** Runs a command here; the arm is skipped, with what the command said, when it fails. */
  command(file: string, args: readonly string[], input = ""): string {
    const [first = file, ...rest] = [...this.through, file, ...args];
    const { status, stdout, stderr } = spawnSync(first, rest, { input, encoding: "utf8" });
    const said = (stderr as string | null)?.trim().split("\n", 1).join("") ?? `no ${first}`;
    this.#bench.need(status === 0, `${file} ${args.join(" ")} does not work here: ${said}`);
    return stdout;
  }

  /** Sets a parameter of this host. */
  sysctl(name: string, value: string | number): void {
    if (this.#holder === undefined) this.#bench.sysctl(name, value);
    else {
      const path = `/proc/sys/${name.replaceAll(".", "/")}`;
      const script = 'cat "$1" && printf %s "$2" > "$1" && cat "$1"';
      const said = this.command("sh", ["-c", script, "sh", path, `${value}`]);
      const [before = "", after = ""] = said.replaceAll("\t", " ").split("\n");
      this.#bench.hasSet({ ...this.#who, name, before, value: after });
    }
  }

  /** Sets the largest packet of an interface. */
  mtu(name: string, bytes: number): void {
    const read = (): string => {
      const links = JSON.parse(this.command("ip", ["-json", "link", "show", name])) as unknown;
      return `${(links as readonly { readonly mtu: number }[])[0]?.mtu}`;
    };
    const before = read();
    this.command("ip", ["link", "set", name, "mtu", `${bytes}`]);
    this.#bench.hasSet({ ...this.#who, name: `mtu of ${name}`, before, value: read() });
  }

  /**
   * Replaces the rules at one hook: lines such as `tcp dport 9001 drop`; none takes them away. Packets are lost where they arrive: one
   * that its own machine drops on its way out makes the kernel believe in local congestion, and it tries again instead of giving up.
   */
  filter(hook: Hook, lines: readonly string[]): void {
    needNft(this.#bench);
    const table = `inet lab_${hook}`;
    const chain = `type filter hook ${hook} priority 0; policy accept; ${lines.map((line) => `${line};`).join(" ")}`;
    const rules = `add table ${table}; delete table ${table}; table ${table} { chain lab { ${chain} }; }\n`;
    this.command("nft", ["-f", "-"], rules);
    this.#bench.hasRules({ ...this.#who, hook, lines });
  }

  /** Gives connections another source as they leave through an interface: `masquerade`, `snat to ADDRESS`; see nft(8). */
  translate(name: string, lines: readonly string[]): void {
    needNft(this.#bench);
    const rules = lines.map((line) => `oifname "${name}" ${line}`);
    const chain = `type nat hook postrouting priority 100; policy accept; ${rules.join("; ")};`;
    this.command("nft", ["-f", "-"], `table ip lab_nat { chain lab { ${chain} }; }\n`);
    this.#bench.hasRules({ ...this.#who, hook: "postrouting", lines: rules });
  }

  /** Packets that the rules with `counter` at a hook have seen. */
  packets(hook: Hook): number {
    const listing = this.command("nft", ["list", "table", "inet", `lab_${hook}`]);
    const counts = [...listing.matchAll(/counter packets (\d+)/g)].map(([, count]) =>
      Number(count),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Ends whatever keeps this network alive. */
  end(): void {
    this.#holder?.kill("SIGKILL");
  }
}

function needNft(bench: Bench): void {
  bench.need(isInSandbox(), "needs packet filter rules; --here changes none of this machine's");
  bench.need(hasTool("nft"), "needs nft to lose packets (package nftables)");
}

/** This process's own network, as a host. */
export function thisHost(bench: Bench): Host {
  return new Host(bench);
}

/** Does `work` with more hosts, of these names, and ends them whatever comes of it. */
async function withHosts(
  bench: Bench,
  names: readonly string[],
  work: (here: Host, others: readonly Host[]) => Promise<void>,
): Promise<void> {
  bench.need(isInSandbox(), "needs hosts of its own; --here has only this machine");
  bench.need(hasTool("nsenter"), "needs nsenter to enter hosts (package util-linux)");
  bench.need(hasTool("ip"), "needs ip to connect hosts (package iproute2)");
  const others: Host[] = [];
  try {
    for (const name of names) others.push(await makeHost(bench, name));
    await work(thisHost(bench), others);
  } finally {
    for (const host of others) host.end();
  }
}

/** Does `work` with a client, which is this process's own network, and behind a router a server; both know the way. */
export async function withRoute(
  bench: Bench,
  work: (route: Route) => Promise<void>,
): Promise<void> {
  await withHosts(bench, ["router", "server"], async (client, [router, server]) => {
    if (router === undefined || server === undefined) throw new Error("two hosts were asked for");
    connectHosts(
      { host: client, name: "net0", address: `${ROUTE.client}/24` },
      { host: router, name: "inside", address: `${ROUTE.inside}/24` },
    );
    connectHosts(
      { host: server, name: "net0", address: `${ROUTE.server}/24` },
      { host: router, name: "outside", address: `${ROUTE.outside}/24` },
    );
    client.command("ip", ["route", "add", "default", "via", ROUTE.inside]);
    server.command("ip", ["route", "add", "default", "via", ROUTE.outside]);
    router.sysctl("net.ipv4.ip_forward", 1);
    await work({ client, router, server });
  });
}

async function makeHost(bench: Bench, name: string): Promise<Host> {
  const [file = "", ...args] = diesWithParent(["unshare", "--net", "--", "sleep", HOLD_S]);
  const holder = spawn(file, args, { stdio: "ignore" });
  const isApart = (): boolean => {
    try {
      return networkNamespace(holder.pid) !== networkNamespace();
    } catch {
      return false; // It has not started, or has ended.
    }
  };
  if (!(await bench.until(isApart, (apart) => apart))) {
    holder.kill("SIGKILL");
    bench.need(false, "needs network namespaces inside the sandbox");
  }
  const host = new Host(bench, { name, holder });
  bench.watchNetwork(host.pid);
  host.command("ip", ["link", "set", "lo", "up"]);
  return host;
}

/** Lays a cable between two hosts: addresses such as `10.77.1.1/24`. */
function connectHosts(one: Plug, other: Plug): void {
  const peer = ["peer", "name", other.name, "netns", `${other.host.pid}`];
  one.host.command("ip", ["link", "add", one.name, "type", "veth", ...peer]);
  for (const { host, name, address } of [one, other]) {
    host.command("ip", ["address", "add", address, "dev", name]);
    host.command("ip", ["link", "set", name, "up"]);
  }
}
