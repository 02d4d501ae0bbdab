/** Real output of real tools: our own captures, all of one moment, and the shared ones where they are present. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decodeText } from "./decode.ts";
import { identityOf } from "./identity.ts";
import { countSockets, parseSockets } from "./parse.ts";
import { emptyCounts, type SocketRecord, type StateCounts } from "./record.ts";

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

describe("shared captures", () => {
  const path = join(SHARED, "expected-counts.json");
  const isPresent = existsSync(path);

  it("are present", (context) => {
    if (!isPresent) context.skip(`no captures at ${SHARED}; set TFL_FIXTURES to where they are`);
  });

  const expected = isPresent ? (JSON.parse(readFileSync(path, "utf8")) as Expected) : {};
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
});
