import { describe, expect, it } from "vitest";
import { predicateOf, type Doubt } from "./filter.ts";
import { groupBy, type Group } from "./groups.ts";
import { parseSockets } from "./parse.ts";
import { placesNamed } from "./place.ts";
import { emptyCounts } from "./record.ts";
import { parseSs } from "./ss.ts";

const { records } = parseSs(
  `LISTEN     0 511 127.0.0.1:8080   0.0.0.0:*       users:(("server",pid=10,fd=3))
ESTAB      0 0   127.0.0.1:8080   127.0.0.1:50001 users:(("server",pid=10,fd=4),("worker",pid=11,fd=4))
ESTAB      0 0   127.0.0.1:50001  127.0.0.1:8080  users:(("client",pid=12,fd=5))
TIME-WAIT  0 0   127.0.0.1:50002  127.0.0.1:8080
ESTAB      0 0   [::1]:50003      [::1]:443       users:(("client",pid=12,fd=6))
`,
);

describe("predicateOf", () => {
  it.each([
    [{ port: 8080 }, [1, 2, 3, 4]],
    [{ local: placesNamed("8080") }, [1, 2]],
    [{ remote: placesNamed("127.0.0.1:8080") }, [3, 4]],
    [{ remote: placesNamed("[::1]:443") }, [5]],
    [{ states: ["TIME_WAIT", "LISTEN"] as const }, [1, 4]],
    [{ pid: 11 }, [2]],
    [{ family: 6 as const }, [5]],
    [{ port: 8080, pid: 12 }, [3]],
  ])("%j lets lines %j through", (filter, lines) => {
    const where = predicateOf(filter);
    expect(records.filter((record) => where?.(record)).map(({ line }) => line)).toEqual(lines);
  });

  it.each([
    ["name", "tcp ESTAB 0 0 10.0.0.1:ssh 10.0.0.9:50001", { port: 22 }],
    ["name", "tcp ESTAB 0 0 10.0.0.1:ssh 10.0.0.9:50001", { local: placesNamed("10.0.0.1:22") }],
    [
      "name",
      "tcp 0 0 web.example.com:443 10.0.0.9:50001 ESTABLISHED",
      { local: placesNamed("::1") },
    ],
    [
      "cut",
      "tcp6 0 0 2001:db8:1111:2222:33:22 ::1:50001 ESTABLISHED",
      { local: placesNamed("2001:db8:1111:2222:3333::1") },
    ],
    ["state", "0 0 10.0.0.1:80 10.0.0.9:50001", { states: ["TIME_WAIT"] as const }],
    ["owner", "ESTAB 0 0 10.0.0.1:80 10.0.0.9:50001", { pid: 1 }],
  ] as const)("cannot tell, for its %s, whether %j is meant by %j", (doubt, line, filter) => {
    const { records } = parseSockets(line);
    const doubts: Doubt[] = [];
    const where = predicateOf(filter, (doubt) => doubts.push(doubt));
    expect([where?.(records[0]!), doubts]).toEqual([false, [doubt]]);
  });

  it.each([
    [{ local: placesNamed("10.0.0.2:22") }],
    [{ remote: placesNamed("10.0.0.1") }],
    [{ port: 22, family: 6 }],
  ] as const)("has no doubt where something else settles it: %j", (filter) => {
    const { records } = parseSockets("tcp ESTAB 0 0 10.0.0.1:ssh 10.0.0.9:50001");
    const doubts: Doubt[] = [];
    const where = predicateOf(filter, (doubt) => doubts.push(doubt));
    expect([where?.(records[0]!), doubts]).toEqual([false, []]);
  });

  it("is nothing where nothing is asked", () => {
    expect(predicateOf({ port: undefined })).toBeUndefined();
  });
});

describe("groupBy", () => {
  const keys = (grouping: "port" | "process" | "remote" | "state"): [string, number][] =>
    groupBy(records, grouping).map(({ key, total }) => [key, total]);

  it("groups by service: the side that serves a port, and the side that uses it", () => {
    expect(keys("port")).toEqual([
      ["->:8080", 2],
      [":8080", 2],
      ["->:443", 1],
    ]);
  });

  it("believes a listener, shown or left out by a filter, where a guess would be wrong", () => {
    const { records } = parseSs(
      `LISTEN 0 9 127.0.0.1:50080 0.0.0.0:*
ESTAB  0 0 127.0.0.1:50080 127.0.0.1:40001
ESTAB  0 0 127.0.0.1:40001 127.0.0.1:50080
`,
    );
    const keys = (groups: readonly Group[]) => groups.map(({ key, total }) => [key, total]);
    expect(keys(groupBy(records, "port"))).toEqual([
      [":50080", 2],
      ["->:50080", 1],
    ]);
    expect(keys(groupBy(records.slice(1), "port", new Set([50_080])))).toEqual([
      ["->:50080", 1],
      [":50080", 1],
    ]);
  });

  it("finds the service where no listener is shown: many share its port, and between equals it is the lower", () => {
    const { records } = parseSs(
      `ESTAB 0 0 127.0.0.1:50080 127.0.0.1:40001
ESTAB 0 0 127.0.0.1:50080 127.0.0.1:40002
ESTAB 0 0 127.0.0.1:40001 127.0.0.1:50080
ESTAB 0 0 127.0.0.1:40002 127.0.0.1:50080
ESTAB 0 0 10.0.0.1:22 10.0.0.9:50001
ESTAB 0 0 10.0.0.1:50002 10.0.0.9:443
`,
    );
    expect(groupBy(records, "port").map(({ key, total }) => [key, total])).toEqual([
      ["->:50080", 2],
      [":50080", 2],
      ["->:443", 1],
      [":22", 1],
    ]);
  });

  it("counts a shared socket for each of its processes, and names what has none", () => {
    expect(keys("process")).toEqual([
      ["client (12)", 2],
      ["server (10)", 2],
      ["(no owner)", 1],
      ["worker (11)", 1],
    ]);
  });

  it("groups by the other side and by state", () => {
    expect(keys("remote")).toEqual([
      ["127.0.0.1", 3],
      ["(none)", 1],
      ["::1", 1],
    ]);
    expect(keys("state")).toEqual([
      ["ESTABLISHED", 3],
      ["LISTEN", 1],
      ["TIME_WAIT", 1],
    ]);
  });

  it("takes an IPv4 peer of a dual-stack server for the same peer", () => {
    const { records } = parseSs(
      "ESTAB 0 0 [::ffff:127.0.0.1]:80 [::ffff:127.0.0.1]:50001\nESTAB 0 0 127.0.0.1:50001 127.0.0.1:80\n",
    );
    expect(groupBy(records, "remote").map(({ key, total }) => [key, total])).toEqual([
      ["127.0.0.1", 2],
    ]);
  });

  it("has all 11 states in every group", () => {
    expect(groupBy(records, "port")[2]?.counts).toEqual({ ...emptyCounts(), ESTABLISHED: 1 });
  });
});
