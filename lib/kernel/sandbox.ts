/**
 * sandbox: a private user, network and process namespace.
 *
 * In it a program has ports, parameters and counters of its own, and every capability over them, without being root
 * outside. When its first process ends the kernel kills all others; and that first process is killed when whoever
 * started it dies, even by SIGKILL. So nothing survives, and the machine's own network is never touched.
 *
 * Sources: unshare(1), user_namespaces(7), network_namespaces(7), pid_namespaces(7), PR_SET_PDEATHSIG in prctl(2).
 */
import { readdirSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { NeedsError } from "./errors.ts";
import { diesWithParent, processTrouble } from "./process.ts";
import { readSysctl } from "./sysctl.ts";
import { needTool, searchPath } from "./tools.ts";

/** How private the network is. The first that works is taken; `here` only when it is asked for. */
export type Rung = "user-namespace" | "root-namespace" | "here";

/** What each rung means, for the user. */
export const RUNGS: Readonly<Record<Rung, string>> = {
  "user-namespace": "a private network (user namespace, no root)",
  "root-namespace": "a private network (as root; user namespaces are off)",
  here: "this machine's own network, where others count too",
};

/** Programs inside a sandbox find its identity here; outside it is not set. */
export const SANDBOX_VARIABLE = "TCP_FAILURE_LAB_NETNS";

/**
 * A non-zero user id is mapped, for root too: with uid 0 tcpdump tries to become a user that the namespace does not have.
 */
const ROOT_MAPS_TO = 1000;

/**
 * The command line that runs `argv`, with the whole search path, in a fresh sandbox of this kind; `here` makes none. All of it dies with
 * this process. Throws NeedsError without the tools for it.
 */
export function sandboxCommand(rung: Rung, argv: readonly string[]): readonly string[] {
  const inside = ["env", `PATH=${searchPath()}`, ...argv];
  if (rung === "here") return diesWithParent(inside);
  needTool("unshare", "util-linux");
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  const user = [
    "--user",
    `--map-user=${uid === 0 ? ROOT_MAPS_TO : uid}`,
    `--map-group=${gid === 0 ? ROOT_MAPS_TO : gid}`,
    "--keep-caps",
  ];
  // unshare kills its child when it dies itself, and it dies with us.
  return diesWithParent([
    ...["unshare", ...(rung === "user-namespace" ? user : [])],
    ...["--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--"],
    ...["sh", "-c", SMALL_TABLE, "sh", ...inside],
  ]);
}

/**
 * The socket table of a network is the machine's unless it asks for one of its own, and on a large machine a walk through that,
 * as for /proc/net/tcp, takes 50 ms, however few sockets there are: too long for whoever looks often. So the network is made
 * twice, the second time as a child with a table of 16,384 buckets (Linux 6.1 and later), as will be further hosts in it, and gets
 * back the two limits that the kernel derives from the size of the table. Source: tcp_child_ehash_entries in ip-sysctl.rst.
 */
const SMALL_TABLE = `
n=/proc/sys/net/ipv4
{ echo 16384 > $n/tcp_child_ehash_entries; } 2>/dev/null || exec "$@"
exec unshare --net -- sh -c '
  echo 16384 > $0/tcp_child_ehash_entries
  echo $1 > $0/tcp_max_tw_buckets
  echo $2 > $0/tcp_max_syn_backlog
  shift 2
  exec "$@"
' $n $(cat $n/tcp_max_tw_buckets) $(cat $n/tcp_max_syn_backlog) "$@"`;

/**
 * The best rung that this machine allows, found by trying. Throws NeedsError, naming what is missing and the ways out,
 * when there is none; `without` says what the caller can do without a private network, such as a flag for that.
 */
export async function findRung(without?: string): Promise<Rung> {
  const user = await attempt("user-namespace");
  if (!user.failed) return "user-namespace";
  // What a signal has ended, such as a Ctrl-C, tells nothing about this machine.
  if (!isRoot() || user.signal !== undefined)
    throw new NeedsError(noSandbox(user.reason, without), { cause: user });
  const root = await attempt("root-namespace");
  if (!root.failed) return "root-namespace";
  throw new NeedsError(noSandbox(root.reason, without), { cause: root });
}

type Attempt = {
  readonly failed: boolean;
  readonly reason: string;
  /** What has ended it. */
  readonly signal: string | undefined;
};

async function attempt(rung: Rung): Promise<Attempt> {
  const { execa } = await import("execa");
  const [file = "", ...args] = sandboxCommand(rung, ["true"]);
  const { failed, stderr, originalMessage, signal } = await execa(file, args, {
    reject: false,
    stdin: "ignore",
  });
  return { failed, reason: stderr.trim() || (originalMessage ?? "failed"), signal };
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function noSandbox(reason: string, without?: string): string {
  return [
    `no private network can be made here: ${reason}`,
    ...causes(),
    `Ways out: ${isRoot() ? "" : "run it as root (sudo); "}in a container, allow it (docker run --security-opt seccomp=unconfined`,
    `--security-opt systempaths=unconfined)${without === undefined ? "." : `; or ${without}`}`,
  ].join("\n  ");
}

function causes(): readonly string[] {
  const found: string[] = [];
  if (readSysctl("kernel.apparmor_restrict_unprivileged_userns") === "1")
    found.push(
      "AppArmor forbids it: kernel.apparmor_restrict_unprivileged_userns = 1 (Ubuntu 23.10 and later).",
    );
  if (readSysctl("kernel.unprivileged_userns_clone") === "0")
    found.push("The kernel forbids it: kernel.unprivileged_userns_clone = 0.");
  for (const kind of ["user", "net", "pid", "mnt"])
    if (readSysctl(`user.max_${kind}_namespaces`) === "0")
      found.push(`The kernel forbids it: user.max_${kind}_namespaces = 0.`);
  return found;
}

/**
 * Prepares a sandbox from inside: brings the loopback interface up, which starts down, and marks the environment so that
 * programs started from here know where they are. Throws NeedsError when no tool can do it.
 */
export async function enterSandbox(): Promise<void> {
  process.env[SANDBOX_VARIABLE] = networkNamespace();
  const { execa } = await import("execa");
  const reasons: string[] = [];
  for (const [file, args] of LOOPBACK_UP) {
    if (networkInterfaces()["lo"] !== undefined) return;
    const { stderr, originalMessage } = await execa(file, args, { reject: false, stdin: "ignore" });
    reasons.push(stderr.trim() || (originalMessage ?? file));
  }
  if (networkInterfaces()["lo"] === undefined)
    throw new NeedsError(
      `the loopback interface cannot be brought up: install iproute2, busybox or perl (${reasons.join("; ")})`,
    );
}

/** SIOCSIFFLAGS with IFF_UP | IFF_LOOPBACK | IFF_RUNNING, for machines that have no ip: netdevice(7). */
const PERL_UP =
  'socket(my $s, 2, 2, 0); my $r = pack("a16 s x22", "lo", 0x49); exit(ioctl($s, 0x8914, $r) ? 0 : 1)';

const LOOPBACK_UP: readonly (readonly [file: string, args: readonly string[]])[] = [
  ["ip", ["link", "set", "lo", "up"]],
  ["perl", ["-e", PERL_UP]],
  ["busybox", ["ip", "link", "set", "lo", "up"]],
];

/** The identity of a process's network namespace, such as `net:[4026531840]`. */
export function networkNamespace(pid: number | "self" = "self"): string {
  return readlinkSync(`/proc/${pid}/ns/net`);
}

/**
 * Ways into the user namespace of a sandbox, the better one first. Without --preserve-credentials nsenter tries to become uid 0, which is
 * not there; and without --keep-caps, which it has since util-linux 2.40, execve(2) takes the capabilities from any other uid.
 */
export const WAYS_INTO_USER_NAMESPACE = [
  ["--user", "--preserve-credentials", "--keep-caps"],
  ["--user", "--preserve-credentials"],
] as const;

/** As root, or into the user namespace of ours that owns the network. */
const WAYS_INTO_NETWORK = [
  ["--net"],
  ...WAYS_INTO_USER_NAMESPACE.map((way) => [...way, "--net"]),
] as const;

/**
 * Words before a command that make it run in the network where a process lives: none where that is our own, undefined when we may
 * not enter it. Throws what readlink(2) does for a process that is gone or another user's.
 */
export async function wayIntoNetwork(pid: number): Promise<readonly string[] | undefined> {
  if (networkNamespace(pid) === networkNamespace()) return [];
  return firstThatEnters(pid, WAYS_INTO_NETWORK);
}

/** Words before a command that make it run where a process lives: nsenter(1) with the first flags that work, undefined when none do. */
export async function firstThatEnters(
  pid: number,
  ways: readonly (readonly string[])[],
): Promise<readonly string[] | undefined> {
  const { execa } = await import("execa");
  for (const flags of ways) {
    const args = [`--target=${pid}`, ...flags, "--"];
    if (!(await execa("nsenter", [...args, "true"], { reject: false })).failed)
      return ["nsenter", ...args];
  }
  return undefined;
}

/**
 * Throws NeedsError for a process whose sockets are not to be found in the tables of our network: it is gone, another user's, or
 * lives in a network of its own, as in a container. To look for them all the same finds none, which would be no answer.
 */
export function needSocketsHere(pid: number): void {
  let network: string;
  try {
    readdirSync(`/proc/${pid}/fd`);
    network = networkNamespace(pid);
  } catch (error) {
    throw processTrouble(pid, error);
  }
  if (network !== networkNamespace())
    throw new NeedsError(
      `process ${pid} lives in another network, as in a container; look from there: trace fds ${pid}, or as root: nsenter --target ${pid} --net -- states --pid ${pid}`,
    );
}

/** Is this process inside a sandbox of ours? The variable alone is not believed: it must name the namespace that we are in. */
export function isInSandbox(): boolean {
  return process.env[SANDBOX_VARIABLE] === networkNamespace();
}
