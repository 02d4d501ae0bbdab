/** Real output of real tools: our own captures, all of one moment, and the shared ones where they are present. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeText } from "./decode.ts";
import { identityOf } from "./identity.ts";
import { countSockets, parseSockets } from "./parse.ts";
import { emptyCounts, type Endpoint, type SocketRecord, type StateCounts } from "./record.ts";
import { stateNamed, stateOfCode } from "./state-names.ts";

const OWN = join(import.meta.dirname, "fixtures");
const SHARED = process.env["TFL_FIXTURES"] ?? join(import.meta.dirname, "../../../shared/fixtures");

/** What open-23 leaves in the kernel, by construction. */
const TWENTY_THREE: StateCounts = {
  ...emptyCounts(),
  ESTABLISHED: 16,
  SYN_SENT: 2,
  FIN_WAIT1: 2,
  FIN_WAIT2: 9,
  TIME_WAIT: 3,
  CLOSE_WAIT: 7,
  LAST_ACK: 2,
  LISTEN: 3,
};

/** lsof sees only what a process holds open: no TIME_WAIT, nothing closed, nothing that waits for accept. */
const HELD: StateCounts = {
  ...TWENTY_THREE,
  ESTABLISHED: 14,
  FIN_WAIT1: 0,
  TIME_WAIT: 0,
  LAST_ACK: 0,
};

const own = (name: string): string => decodeText(readFileSync(join(OWN, `${name}.txt`)));
const recordsOf = (name: string): readonly SocketRecord[] =>
  parseSockets(own(name)).records.filter(({ protocol }) => protocol === "tcp");

describe("the 23 connections", () => {
  it.each([
    ["ss-6.1-linux", "ss", TWENTY_THREE],
    ["ss-details-6.1-linux", "ss", TWENTY_THREE],
    ["ss-oneline-6.1-linux", "ss", TWENTY_THREE],
    ["ss-all-6.1-linux", "ss", TWENTY_THREE],
    ["netstat-2.10-linux", "netstat-linux", TWENTY_THREE],
    ["netstat-names-2.10-linux", "netstat-linux", TWENTY_THREE],
    ["busybox-netstat-1.35-linux", "netstat-linux", TWENTY_THREE],
    ["procnet-6.18-linux", "procnet", TWENTY_THREE],
    ["lsof-4.95-linux", "lsof", HELD],
    ["lsof-fields-4.95-linux", "lsof-fields", HELD],
    ["lsof-fields0-4.95-linux", "lsof-fields", HELD],
    ["uniq-ss-6.1-linux", "tally", TWENTY_THREE],
    ["uniq-netstat-2.10-linux", "tally", TWENTY_THREE],
  ])("are counted right in %s", (name, format, counts) => {
    const text = own(name);
    const parsed = parseSockets(text);
    expect(parsed).toMatchObject({ format, counts, unstated: 0 });
    expect(parsed.rows + parsed.skipped.length).toBe(parsed.lines);
    expect(countSockets(text).counts).toEqual(counts);
  });

  it("have no state in the output of `ss state time-wait`", () => {
    expect(parseSockets(own("ss-state-6.1-linux"))).toMatchObject({ unstated: 3, rows: 3 });
  });

  it("are the same sockets in ss, netstat and /proc, record by record", () => {
    const [ss, netstat, proc] = ["ss-6.1-linux", "netstat-2.10-linux", "procnet-6.18-linux"].map(
      (name) => recordsOf(name).map(identity).sort(),
    );
    expect(netstat).toEqual(ss);
    expect(proc).toEqual(ss);
  });

  it("have the same owners in ss and lsof, and there is nothing in lsof that ss does not have", () => {
    const owned = (name: string): string[] =>
      recordsOf(name)
        .filter(({ owners }) => owners.length > 0)
        .map(
          (record) =>
            `${identity(record)} ${JSON.stringify(record.owners.map(({ pid, fd }) => [pid, fd]))}`,
        )
        .sort();
    expect(owned("lsof-4.95-linux")).toEqual(owned("ss-details-6.1-linux"));
    expect(owned("lsof-fields-4.95-linux")).toEqual(owned("ss-details-6.1-linux"));
  });

  it("have the same user id and inode in ss and /proc, and TIME_WAIT has its timer in both", () => {
    const facts = (name: string): string[] =>
      recordsOf(name)
        .map(({ uid = 0, inode = 0, timer, state, ...ends }) =>
          [identityOf(ends), uid, inode, state === "TIME_WAIT" ? timer?.name : ""].join(" "),
        )
        .sort();
    expect(facts("procnet-6.18-linux")).toEqual(facts("ss-details-6.1-linux"));
    expect(facts("procnet-6.18-linux").filter((fact) => fact.endsWith(" timewait"))).toHaveLength(
      3,
    );
  });

  it("show their details on the row itself or on a line below it", () => {
    for (const name of ["ss-details-6.1-linux", "ss-oneline-6.1-linux"])
      for (const { state, details } of recordsOf(name))
        if (state !== "TIME_WAIT")
          expect(details, name).toMatchObject({ congestion: "bbr", cgroup: "/" });
  });
});

const identity = (record: SocketRecord): string => `${identityOf(record)} ${record.state ?? ""}`;

type Expected = Readonly<
  Record<string, { tcpRows: number; states: Readonly<Record<string, number>> }>
>;

const INDEX = join(SHARED, "expected-counts.json");
const expected = existsSync(INDEX) ? (JSON.parse(readFileSync(INDEX, "utf8")) as Expected) : {};

describe("shared captures", () => {
  it("are present", (context) => {
    if (!existsSync(INDEX))
      context.skip(`no captures at ${SHARED}; set TFL_FIXTURES to where they are`);
  });

  for (const [file, { tcpRows, states }] of Object.entries(expected))
    it(`are counted right: ${file}`, () => {
      const text = decodeText(readFileSync(join(SHARED, file)));
      // The rows of /proc/net/tcp and udp look alike: as everywhere, the name of the file tells.
      const options = file.includes("/net_tcp") ? ({ protocol: "tcp" } as const) : {};
      const parsed = parseSockets(text, "auto", options);
      const { UNKNOWN = 0, ...known } = states;
      expect(parsed.counts).toEqual({ ...emptyCounts(), ...known });
      expect(parsed.unstated).toBe(UNKNOWN);
      expect(parsed.records.filter(({ protocol }) => protocol === "tcp")).toHaveLength(tcpRows);
      expect(parsed.rows + parsed.skipped.length).toBe(parsed.lines);
      expect(countSockets(text, "auto", options).counts).toEqual(parsed.counts);
    });

  // What jc (github.com/kellyjonbrazil/jc) says about the same text: another program, by other people. It loses the protocol of lsof's rows.
  for (const file of Object.keys(expected))
    if (file.startsWith("jc/") && !file.includes("lsof"))
      it(`have the endpoints, states and queues that jc sees: ${file}`, () => {
        const text = decodeText(readFileSync(join(SHARED, file)));
        const theirs = JSON.parse(
          readFileSync(join(SHARED, file.replace(/\.out$|(?<=net_tcp)$/, ".json")), "utf8"),
        ) as JcRow[];
        const tcp = theirs.filter(({ proto, netid, entry }) =>
          /^tcp/i.test(proto ?? netid ?? (entry === undefined ? "" : "tcp")),
        );
        const { records } = parseSockets(text, "auto", { protocol: "tcp" });
        const ours = records.filter(({ protocol }) => protocol === "tcp");
        expect(ours.map(ourFacts)).toEqual(tcp.map(theirFacts));
      });
});

type JcRow = Readonly<
  Partial<Record<"proto" | "netid" | "entry" | "state" | "local_address", string>> &
    Partial<Record<"foreign_address" | "remote_address" | "peer_address", string>> &
    Partial<Record<"local_port" | "foreign_port" | "remote_port" | "peer_port", string | number>> &
    Partial<Record<"recv_q" | "send_q", number>> &
    Partial<Record<"rx_queue" | "tx_queue", string>>
>;

function ourFacts({ local, remote, state, recvQ, sendQ }: SocketRecord): string {
  const port = (value: Endpoint["port"]): string => String(value ?? "any");
  return [local.address, port(local.port), remote.address, port(remote.port), state, recvQ, sendQ]
    .slice(0, recvQ === undefined || sendQ === undefined ? 5 : 7)
    .join(" ");
}

function theirFacts(row: JcRow): string {
  const address = (text = ""): string => text.replaceAll(/[[\]]|%.*$/g, "");
  const port = (value: string | number = "*"): string =>
    /^[*0]$/.test(String(value)) ? "any" : String(value);
  const remote = row.foreign_address ?? row.remote_address ?? row.peer_address;
  const remotePort = row.foreign_port ?? row.remote_port ?? row.peer_port;
  const state =
    row.entry === undefined
      ? stateNamed(row.state ?? "")
      : stateOfCode(Number.parseInt(row.state ?? "", 16));
  const hex = (text: string): number => Number.parseInt(text, 16);
  const queues = [
    row.recv_q ?? (row.rx_queue === undefined ? undefined : hex(row.rx_queue)),
    row.send_q ?? (row.tx_queue === undefined ? undefined : hex(row.tx_queue)),
  ].filter((queue) => queue !== undefined);
  return [
    address(row.local_address),
    port(row.local_port),
    address(remote),
    port(remotePort),
    state,
    ...queues,
  ].join(" ");
}
