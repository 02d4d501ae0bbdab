import { Chalk } from "chalk";
import { describe, expect, it } from "vitest";
import type { LabResult } from "../lab/result.ts";
import { emptyCounts } from "../sockets/record.ts";
import type { BombResult } from "../programs/bomb.ts";
import type { VisitsSummary } from "../protocol/visits.ts";
import { bombOpening, bombReport, predictionText } from "./bomb-report.ts";
import { bytes, count, ms, wrapped } from "./format.ts";
import { summaryTable } from "./lab-summary.ts";
import { multiplexReport } from "./multiplex-report.ts";
import { exhaustionReport, statusLine } from "./server-report.ts";
import { visitsReport } from "./visits-report.ts";

describe("wrapped", () => {
  it("breaks at 80 columns and hangs under its first word", () => {
    const text = wrapped("word ".repeat(40).trim(), "note: ");
    expect(text.split("\n").every((line) => line.length <= 80)).toBe(true);
    expect(text).toMatch(/^note: word .*\n {6}word /);
    expect(text.replaceAll(/\s+/g, " ")).toBe(`note: ${"word ".repeat(40).trim()}`);
  });

  it("leaves a word that is longer than a line whole", () => {
    expect(wrapped("x".repeat(100))).toBe("x".repeat(100));
  });
});

describe("numbers", () => {
  it("are shown with their units", () => {
    expect([
      count(28_232),
      ms(0.0764),
      ms(123.4),
      ms(61_234),
      bytes(900),
      bytes(4_300),
      bytes(59_000_000),
    ]).toEqual(["28,232", "0.0764 ms", "123 ms", "61.2 s", "900 B", "4.2 KiB", "56.3 MiB"]);
  });
});

describe("server report", () => {
  const status = {
    address: "127.0.0.1:8080",
    accepted: 104,
    open: 104,
    descriptors: { open: 128, limit: 128, isExhausted: true },
    closeWait: 104,
    queued: 0,
    passiveOpens: 300,
    otherListeners: 0,
    wasExhausted: true,
    shed: 196,
  };

  it("puts its status on one line", () => {
    expect(statusLine(status)).toBe(
      "127.0.0.1:8080  accepted 104  shed 196  CLOSE_WAIT 104  descriptors 128/128",
    );
  });

  it("says what happened, how many were shed, and how it knows", () => {
    const text = exhaustionReport(status).replaceAll(/\s+/g, " ");
    expect(text).toContain("Out of descriptors: 128 of 128");
    expect(text).toContain("104 of them are sockets in CLOSE_WAIT");
    expect(text).toContain(
      "Shed unseen so far: 196: 300 handshakes (TcpPassiveOpens) - 104 seen by the program",
    );
  });

  it("says at most where other listeners share the counter", () => {
    expect(exhaustionReport({ ...status, otherListeners: 2 })).toContain("at most 196");
    expect(statusLine({ ...status, otherListeners: 2 })).toContain("shed <= 196  ");
    const one = exhaustionReport({ ...status, otherListeners: 1 });
    expect(one).toContain("for 1 other listener(s) in this network namespace");
  });

  it("blames no more sockets in CLOSE_WAIT than the program has open, whatever the table says", () => {
    const text = exhaustionReport({ ...status, closeWait: 128 }).replaceAll(/\s+/g, " ");
    expect(text).toContain("104 of them are sockets in CLOSE_WAIT");
  });

  it("does not say that they are out when they were", () => {
    const text = exhaustionReport({
      ...status,
      descriptors: { open: 24, limit: 128, isExhausted: false },
    });
    expect(text).toContain("Was out of descriptors for a while: all 128 were in use, now 24 are.");
    expect(text).not.toContain("EMFILE");
  });

  it("tells load from a leak", () => {
    const text = exhaustionReport({ ...status, closeWait: 0 }).replaceAll(/\s+/g, " ");
    expect(text).toContain("no peer is known to have closed");
    expect(text).not.toContain("That is a leak");
  });
});

describe("bomb report", () => {
  const counts = emptyCounts();
  const failed = (errno: string): BombResult["failures"] => ({
    [errno]: { count: 1, first: `connect ${errno}`, syscalls: { connect: 1 } },
  });
  const result: BombResult = {
    attempts: 1_005,
    successes: 1_004,
    failures: {
      EADDRNOTAVAIL: {
        count: 1,
        first: "connect EADDRNOTAVAIL 127.0.0.1:8080 - Local (0.0.0.0:0)",
        syscalls: { connect: 1 },
      },
    },
    closedFirst: { us: 1_004, server: 0 },
    durationMs: 101,
    connectByFill: Array.from({ length: 10 }, () => undefined),
    destination: "127.0.0.1:8080",
    ratePerSecond: 9_940,
    predicted: {
      kind: "certain",
      capacity: 1_000,
      waiting: 0,
      missable: 0,
      sustainablePerSecond: 16.7,
    },
    before: { clients: counts, server: counts },
    after: { clients: { ...counts, TIME_WAIT: 1_000 }, server: counts },
    counters: { TcpOutRsts: 4 },
  };

  it("puts prediction and measurement side by side and explains the last connection", () => {
    const text = bombReport(result);
    expect(text).toContain("predicted  EADDRNOTAVAIL after 1,000 connections");
    expect(text).toContain("measured   1,004 of 1,005 succeeded");
    expect(text).toContain(
      "explained  4 more than there are ports: a RST ended that many TIME_WAITs",
    );
    expect(text).toMatch(/^TIME_WAIT +0 +1,000 +0 +0$/m);
  });

  it.each([
    ["there were TIME_WAITs before", { predicted: { ...result.predicted, waiting: 23 } as const }],
    ["it took a minute", { durationMs: 60_001 }],
  ])("blames no RST that was not sent: TIME_WAITs end by themselves when %s", (_when, changed) => {
    const all = { ...result, successes: 1_004, counters: { TcpOutRsts: 3 }, ...changed };
    expect(bombReport(all).replaceAll(/\s+/g, " ")).toContain(
      "explained 4 more than there are ports: that many TIME_WAITs have ended meanwhile, after their 60 s or early by a RST (TcpOutRsts 3; RFC 1337)",
    );
  });

  it("blames no end of TIME_WAIT within a run that was shorter", () => {
    const text = bombReport({ ...result, counters: {} }).replaceAll(/\s+/g, " ");
    expect(text).toContain("4 more than there are ports: where the server's FIN was faster");
    expect(text).not.toContain("60 s or early");
  });

  it.each([
    [{ counters: { TcpExtTCPTimeWaitOverflow: 23 } }, "23 TIME_WAITs were not kept"],
    [{ failures: failed("ECONNRESET") }, "ECONNRESET: the server's kernel had accepted"],
    [{ failures: failed("EMFILE") }, "EMFILE: this program has no descriptor left"],
  ])("explains what no prediction of ports has: %j", (changed, words) => {
    expect(bombReport(result)).not.toContain(words);
    expect(bombReport({ ...result, ...changed }).replaceAll(/\s+/g, " ")).toContain(
      `explained ${words}`,
    );
  });

  it("predicts what a cap on TIME_WAITs, or a range without a free port, makes of it", () => {
    const capped = { kind: "capped", capacity: 1_000, maxTimeWaits: 100 } as const;
    expect(predictionText(capped)).toContain("keeps 100 TIME_WAITs at a time (tcp_max_tw_buckets)");
    const full = { kind: "never", capacity: 0, waiting: 1_000, reason: "closed by RST" } as const;
    expect(predictionText(full)).toMatch(
      /^EADDRNOTAVAIL at once: .* 1,000 .* After that no failure/,
    );
    expect(predictionText({ ...full, waiting: 0 })).toBe(
      "EADDRNOTAVAIL at once: every port is in use.",
    );
  });

  it("shows how long connect() took by how full the range was, and explains what delayed it", () => {
    const step = { count: 1_234, p50Ms: 0.05, p90Ms: 0.1, p99Ms: 0.2, p999Ms: 0.3, maxMs: 1_000 };
    const connectByFill = [step, undefined, step];
    const text = bombReport({ ...result, connectByFill, counters: { TcpExtListenOverflows: 7 } });
    expect(text).toContain("explained  a full accept queue dropped SYNs (TcpExtListenOverflows 7)");
    expect(text).toContain(
      [
        "range used  connects      p50     p90     p99       max",
        "    0-10 %     1,234  0.05 ms  0.1 ms  0.2 ms  1,000 ms",
        "   20-30 %     1,234  0.05 ms  0.1 ms  0.2 ms  1,000 ms",
        "",
        "state        ours before  after  server's before  after",
      ].join("\n"),
    );
    expect(bombReport(result)).not.toContain("accept queue");
    expect(bombReport({ ...result, successes: 0 })).not.toContain("range used");
  });

  it.each([
    [1, "1 port was passed over: bind() refuses"],
    [23, "23 ports were passed over: bind() refuses"],
  ])("says why explicit ports were passed over: %i", (count, words) => {
    const entry = { count, first: "connect EADDRINUSE", syscalls: { connect: count } };
    const failures = { EADDRINUSE: entry };
    expect(bombReport({ ...result, failures }).replaceAll(/\s+/g, " ")).toContain(words);
  });

  it("says who closed in place of a server that was expected to, and nothing where it has", () => {
    const waits = (reason: "server closes first" | "closed by RST", us: number): string => {
      const predicted = { kind: "never", capacity: 1_000, waiting: 0, reason } as const;
      const all = { attempts: 1_004, failures: {}, closedFirst: { us, server: 0 } };
      return bombReport({ ...result, ...all, predicted });
    };
    expect(waits("server closes first", 23)).toContain("explained  23 of these the server had not");
    expect(waits("server closes first", 0)).not.toContain("explained");
    expect(waits("closed by RST", 23)).not.toContain("explained");
  });

  it("predicts one less for every odd part of a range, and only there", () => {
    const predicted = { ...result.predicted, missable: 1 };
    expect(predictionText(predicted)).toContain("It may be 1 less: of an odd number");
    expect(predictionText(result.predicted)).not.toContain("less");
  });

  it("says what so many ports sustain, though it be less than one connection a second", () => {
    const sustained = (sustainablePerSecond: number): string =>
      predictionText({ ...result.predicted, sustainablePerSecond } as typeof result.predicted);
    expect(sustained(470.5)).toContain("In the long run 470 connections per second.");
    expect(sustained(1.5)).toContain("In the long run 1 connection per second.");
    expect(sustained(23 / 60)).toContain("In the long run one connection every 2.6 s.");
  });

  it("accounts for every connection: those that were under way at the end, too", () => {
    expect(bombReport(result)).not.toContain("still connecting");
    expect(bombReport({ ...result, attempts: 1_007 })).toContain(
      "explained  2 still connecting at the end, and cut off\n",
    );
  });

  it("says how many ports a bomb before it has left in TIME_WAIT", () => {
    const predicted = { ...result.predicted, capacity: 23, waiting: 977 };
    expect(bombReport({ ...result, predicted }).replaceAll(/\s+/g, " ")).toContain(
      "that many ports are free, 977 more are in TIME_WAIT already, and each stays in TIME_WAIT for 60 s after its close.",
    );
  });

  it("explains ports that run out although tcp_tw_reuse gives them back: the server has not closed", () => {
    const perSecond = 1_000;
    const predicted = { kind: "above-rate", capacity: 1_000, delayMs: 1_000, mode: 2 } as const;
    const clients = { ...counts, FIN_WAIT2: 1_000 };
    const leaked = { predicted: { ...predicted, perSecond }, after: { clients, server: counts } };
    expect(bombReport({ ...result, ...leaked }).replaceAll(/\s+/g, " ")).toContain(
      "explained 1,000 ports are in FIN_WAIT2, not in TIME_WAIT, for the server has not closed",
    );
    expect(bombReport(result)).not.toContain("has not closed");
  });

  it("says that a success here is none to the server's program when that has not closed what we have", () => {
    const left = (CLOSE_WAIT: number): string => {
      const after = { clients: counts, server: { ...counts, CLOSE_WAIT } };
      return bombReport({ ...result, failures: {}, after }).replaceAll(/\s+/g, " ");
    };
    expect(left(105)).toContain("the server has not closed 105 connections that we have");
    expect(left(100)).not.toContain("the server has not"); // Less than a tenth: it is at it.
  });

  it("stays within 80 columns", () => {
    expect(
      bombReport(result)
        .split("\n")
        .filter((line) => line.length > 80),
    ).toEqual([]);
  });

  it.each([
    [2, "This is the default (tcp_tw_reuse=2) for loopback"],
    [1, "This is tcp_tw_reuse=1, set by somebody, for any destination"],
  ] as const)("says beforehand when this machine cannot fail (%i), and what can", (mode, why) => {
    const predicted = { kind: "above-rate", capacity: 28_232, delayMs: 1_000, mode } as const;
    const text = bombOpening("127.0.0.1:8080", { ...predicted, perSecond: 28_232 }, 0);
    expect(text.replaceAll(/\s+/g, " ")).toContain("make lab NAME=time-wait-exhaustion");
    expect(text.replaceAll(/\s+/g, " ")).toContain(why);
    const never = { kind: "never", capacity: 1, waiting: 0, reason: "closed by RST" } as const;
    expect(predictionText(never)).toMatch(/^no failure/);
  });
});

describe("visitsReport", () => {
  const visits: VisitsSummary = {
    ...{ connections: 23, connected: 23, echoes: 23, left: 20, peerClosed: 3, interrupted: 0 },
    ...{ failures: {}, connectMs: undefined },
  };

  it("says when the server closed before the client left, and only then", () => {
    expect(visitsReport(visits)).toContain("closed by the server before we left: 3");
    expect(visitsReport({ ...visits, peerClosed: 0 })).not.toContain("before we left");
  });

  it("says that nobody listens when all were refused, and not when some got through", () => {
    const refused = { count: 3, first: "connect ECONNREFUSED", syscalls: { connect: 3 } };
    const failures = { ECONNREFUSED: refused };
    expect(visitsReport({ ...visits, connected: 0, failures })).toContain("nobody listens there");
    expect(visitsReport({ ...visits, failures })).not.toContain("nobody listens");
    expect(visitsReport({ ...visits, connected: 0 })).not.toContain("nobody listens");
  });
});

describe("lab summary", () => {
  it("shows why an arm did not run to its end, where no claim failed", () => {
    const arm = { kind: "broken", about: "a", verdict: "failed", reason: "not over after 60 s" };
    const told = { claims: [], said: [], timeline: [], notes: [] };
    const result = { lab: "fd-leak", verdict: "failed", durationMs: 1, run: 1, arms: [] };
    const failed = { ...result, arms: [{ ...arm, ...told }] } as unknown as LabResult;
    expect(summaryTable([failed], new Chalk({ level: 0 }))).toContain("not over after 60 s");
  });
});

describe("multiplexReport", () => {
  it("gives a connection no memory where a process has given some back", () => {
    const before = { threads: 11, descriptors: 22, rssBytes: 2_300_000 };
    const kernel = { slabBytes: 0, bufferBytes: 0 };
    const report = multiplexReport({
      ...{ connections: 23, how: "at-once", kernel: { before: kernel, open: kernel } },
      opened: { open: 23, durationMs: 23, failures: {} },
      exchanged: {
        ...{ sent: 23, answered: 23, durationMs: 23, failures: {} },
        ...{ latency: undefined, latencies: [] },
      },
      client: { processes: 1, before, open: { ...before, rssBytes: 2_200_000 } },
      server: { processes: 1, before, open: { ...before, rssBytes: 4_600_000 } },
      states: { clients: emptyCounts(), server: emptyCounts() },
    });
    expect(report).toMatch(/^client .* 2\.1 MiB +-$/m);
    expect(report).toMatch(/^server .* 4\.4 MiB +97\.7 KiB$/m);
  });

  it("divides the kernel's memory by the connections, both ends of each", () => {
    const usage = { threads: 11, descriptors: 22, rssBytes: 2_300_000 };
    const [before, open] = [0, 10_240_000].map((slabBytes) => ({ slabBytes, bufferBytes: 0 }));
    const report = multiplexReport({
      ...{ connections: 1_000, how: "at-once", kernel: { before: before!, open: open! } },
      opened: { open: 1_000, durationMs: 23, failures: {} },
      exchanged: {
        ...{ sent: 0, answered: 0, durationMs: 23, failures: {} },
        ...{ latency: undefined, latencies: [] },
      },
      client: { processes: 1, before: usage, open: usage },
      server: { processes: 1, before: usage, open: usage },
      states: { clients: emptyCounts(), server: emptyCounts() },
    });
    expect(report.replaceAll(/\s+/g, " ")).toContain("10.0 KiB for each connection, both ends");
  });
});
