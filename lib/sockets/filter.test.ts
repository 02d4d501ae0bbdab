import { describe, expect, it } from "vitest";
import { groupBy, predicateOf } from "./filter.ts";
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
