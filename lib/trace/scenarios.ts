/**
 * scenarios: short conversations, each of which shows one thing. Two programs of ours talk in a sandbox.
 */
import { builtCommand } from "../kernel/built.ts";

/** What a scenario consists of. */
export type Scenario = {
  /** What it shows, in one line. */
  readonly about: string;
  readonly protocol: "tcp" | "udp";
  /** The server's words; none when nobody is to listen. */
  readonly server: readonly string[] | undefined;
  readonly client: readonly string[];
  /** Can it be had with many connections at a time? */
  readonly takesConnections: boolean;
  /** Parameters of the sandbox. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Which of several conversations is shown: the first, or the last. */
  readonly focus: "first" | "last";
};

/** The port of every scenario's server: tcpdump knows no protocol for it. */
export const PORT = 4000;

const SERVER = ["server", "--port", `${PORT}`, "--json"];
const CLIENT = ["client", "--port", `${PORT}`, "--json"];

/** Name to scenario. */
export const SCENARIOS = {
  close: {
    about: "one echo, then the client closes: from socket() to TIME_WAIT",
    protocol: "tcp",
    server: SERVER,
    client: CLIENT,
    takesConnections: true,
    focus: "first",
  },
  "half-close": {
    about: "the client closes its half and reads on: FIN_WAIT2 here, CLOSE_WAIT there",
    protocol: "tcp",
    server: ["actor", "answer-at-end", `${PORT}`],
    client: ["actor", "half-closer", `${PORT}`],
    takesConnections: false,
    focus: "first",
  },
  reset: {
    about: "the client leaves with a RST: both sides are gone at once",
    protocol: "tcp",
    server: SERVER,
    client: [...CLIENT, "--leave", "reset"],
    takesConnections: true,
    focus: "first",
  },
  refused: {
    about: "nobody listens: a SYN is answered with a RST",
    protocol: "tcp",
    server: undefined,
    client: CLIENT,
    takesConnections: true,
    focus: "first",
  },
  "queue-full": {
    about: "the accept queue is full: the SYN is dropped, and sent again after a second",
    protocol: "tcp",
    server: [...SERVER, "--backlog", "1", "--block-after", "1", "--block-ms", "1500"],
    client: ["actor", "queuers", `${PORT}`],
    takesConnections: false,
    focus: "last",
  },
  nagle: {
    about: "two small writes: the second waits for an ACK that the other side delays",
    protocol: "tcp",
    server: ["actor", "answer-whole", `${PORT}`],
    client: ["actor", "two-writes", `${PORT}`],
    takesConnections: false,
    focus: "first",
  },
  "keep-alive": {
    about: "nobody says anything: after a second the kernel asks whether the other side is there",
    protocol: "tcp",
    server: SERVER,
    client: ["actor", "keeper", `${PORT}`],
    takesConnections: false,
    focus: "first",
  },
  partial: {
    about: "64 KiB through small buffers: writes and reads that do less than they were asked",
    protocol: "tcp",
    server: SERVER,
    client: ["actor", "big-message", `${PORT}`],
    takesConnections: false,
    sysctls: {
      "net.ipv4.tcp_wmem": "4096 16384 16384",
      "net.ipv4.tcp_rmem": "4096 16384 16384",
    },
    focus: "first",
  },
  udp: {
    about: "one datagram there, one back: no handshake, no state, no end",
    protocol: "udp",
    server: ["actor", "udp-echo", `${PORT}`],
    client: ["actor", "udp-client", `${PORT}`],
    takesConnections: false,
    focus: "first",
  },
} as const satisfies Readonly<Record<string, Scenario>>;

/** One of them. */
export type ScenarioName = keyof typeof SCENARIOS;

/** All of them. */
export const SCENARIO_NAMES = Object.keys(SCENARIOS) as ScenarioName[];

/** The command line of a scenario's program. */
export function programOf(words: readonly string[]): readonly string[] {
  const [name = "", ...args] = words;
  return [...builtCommand(name === "actor" ? "lib/trace/actor-main" : `cmd/${name}`), ...args];
}
