import { describe, expect, it } from "vitest";
import type { Sample } from "../lab/events.ts";
import { thinnedOut, type ArmResult, type LabResult } from "../lab/result.ts";
import { emptyCounts } from "../sockets/record.ts";
import { junitReport, tapReport } from "./lab-formats.ts";
import { theme } from "./lab-report.ts";
import { failureReport, progressLine, residueLine, summaryTable } from "./lab-summary.ts";
import { timelineChart } from "./timeline.ts";

const held: ArmResult = {
  kind: "broken",
  about: 'a "leak" & #1',
  verdict: "held",
  settings: [],
  rules: [],
  claims: [{ text: "CLOSE_WAIT", predicted: 23, measured: 23, held: true }],
  notes: [],
  timeline: [],
  durationMs: 1_234,
  leftBehind: [],
};
const failed: ArmResult = {
  ...held,
  kind: "fixed",
  about: "close <it>",
  verdict: "failed",
  claims: [{ text: "CLOSE_WAIT", predicted: 0, measured: 23, held: false }],
};
const skipped: ArmResult = {
  ...held,
  kind: "myth",
  about: "nothing",
  verdict: "skipped",
  reason: "no nft",
};
const result: LabResult = {
  version: 1,
  lab: "fd-leak",
  summary: "",
  run: 1,
  verdict: "failed",
  params: {},
  environment: { kernel: "6.1", node: "v20", sandbox: "here" },
  arms: [held, failed, skipped],
  durationMs: 2_000,
};

describe("tapReport", () => {
  it("has one point for each arm, and says of a failed one what was predicted and measured", () => {
    expect(tapReport([result])).toBe(
      [
        "TAP version 14",
        "1..3",
        'ok 1 - fd-leak: broken: a "leak" & \\#1',
        "not ok 2 - fd-leak: fixed: close <it>",
        "  ---",
        "  duration_ms: 1234",
        "  message:",
        '    - "CLOSE_WAIT: predicted 0, measured 23"',
        "  ...",
        "ok 3 - fd-leak: myth: nothing # SKIP no nft",
      ].join("\n"),
    );
  });
});

describe("results of several runs", () => {
  const again: LabResult = { ...result, run: 2, arms: [held], verdict: "held" };
  const paint = theme(false);

  it("names the run in TAP and JUnit, after the first", () => {
    expect(tapReport([again])).toContain('ok 1 - fd-leak (run 2): broken: a "leak"');
    expect(junitReport([again])).toContain('<testsuite name="fd-leak (run 2)"');
  });

  it("tells of a failed run which it was, and what was predicted and measured", () => {
    const text = failureReport(result, paint);
    expect(text).toContain("fd-leak, run 1: failed\nfixed   close <it>\n");
    expect(text).toMatch(/CLOSE_WAIT +0 +23 +FAIL/);
    expect(text).not.toMatch(/broken|myth/);
    expect(failureReport(again, paint)).toBe("");
  });

  it("sums them up: a row for each lab, and below it what failed, or what it is about", () => {
    const other: LabResult = { ...again, lab: "reset", run: 1 };
    expect(summaryTable([result, again, other], paint)).toBe(
      [
        "lab      arms  claims held  verdict              seconds",
        "fd-leak     4       3 of 4  failed, held 1 of 2      4.0",
        "  CLOSE_WAIT: predicted 0, measured 23",
        "reset       1       1 of 1  held                     2.0",
        "  CLOSE_WAIT: predicted 23, measured 23",
      ].join("\n"),
    );
    const stuck = {
      ...held,
      verdict: "failed",
      claims: [],
      reason: "not over after 60 s",
    } as const;
    expect(summaryTable([{ ...other, arms: [stuck] }], paint)).toContain("\n  not over after 60 s");
  });
});

describe("junitReport", () => {
  it("counts failures and skips, and escapes what XML would misread", () => {
    expect(junitReport([result])).toBe(
      [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<testsuites>",
        '  <testsuite name="fd-leak" tests="3" failures="1" skipped="1" time="2.000">',
        '    <testcase classname="fd-leak" name="broken: a &quot;leak&quot; &amp; #1" time="1.234"/>',
        '    <testcase classname="fd-leak" name="fixed: close &lt;it&gt;" time="1.234"><failure message="CLOSE_WAIT: predicted 0, measured 23"/></testcase>',
        '    <testcase classname="fd-leak" name="myth: nothing" time="1.234"><skipped message="no nft"/></testcase>',
        "  </testsuite>",
        "</testsuites>",
      ].join("\n"),
    );
  });

  it("says of a failed arm all that is wrong with it, and nothing that is right", () => {
    const claims = [...held.claims, ...failed.claims];
    const arm = { ...failed, claims, reason: "not over after 60 s", leftBehind: ["4711 node"] };
    const troubles = [
      "not over after 60 s",
      "CLOSE_WAIT: predicted 0, measured 23",
      "left behind: 4711 node",
    ];
    expect(junitReport([{ ...result, arms: [arm] }])).toContain(
      `<failure message="${troubles.join("; ")}"/>`,
    );
    const listed = troubles.map((line) => `    - ${JSON.stringify(line)}`).join("\n");
    expect(tapReport([{ ...result, arms: [arm] }])).toContain(`  message:\n${listed}\n  ...`);
  });
});

function sample(tMs: number, timeWait: number): Sample {
  return {
    tMs,
    clients: { ...emptyCounts(), TIME_WAIT: timeWait },
    server: emptyCounts(),
    processes: [],
    counters: {},
  };
}

describe("progressLine", () => {
  it("names the arms that failed, and no other", () => {
    expect(progressLine(result, 2, 23)).toBe("2 of 23  fd-leak failed in 2,000 ms: close <it>");
  });
});

describe("residueLine", () => {
  const inside: LabResult = {
    ...result,
    environment: { ...result.environment, sandbox: "user-namespace" },
  };
  const oneLine = (...of: Parameters<typeof residueLine>): string =>
    residueLine(...of).replaceAll(/\s+/g, " ");

  it("names what is still there, and every parameter that is not as before", () => {
    const left = { ...inside, arms: [held, { ...held, leftBehind: ["4711 node"] }] };
    expect(oneLine([left], 216, ["net/ipv4/tcp_mem"])).toBe(
      "Left behind: 4711 node; net/ipv4/tcp_mem",
    );
    expect(oneLine([result], 216, ["net/ipv4/tcp_mem"])).toBe("Left behind: net/ipv4/tcp_mem");
  });

  it("says what was looked at where there is nothing, and claims less with --here", () => {
    expect(oneLine([inside], 216, [])).toBe(
      "Left behind: nothing: no process in the networks of 3 arms, so no socket, rule or namespace; 216 network parameters as before.",
    );
    expect(oneLine([{ ...inside, arms: [held] }], 216, [])).toContain("networks of one arm,");
    expect(oneLine([inside, result], 216, [])).toMatch(
      /^Left behind: with --here the network is everybody's: .* 216 network parameters as before\.$/,
    );
  });
});

describe("timelineChart", () => {
  it("draws the states that changed, each scaled to its maximum, in at most 80 columns", () => {
    const chart = timelineChart(
      Array.from({ length: 9 }, (_, index) => sample(index * 100, index * 125)),
    );
    const lines = chart.split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^ {4}clients TIME_WAIT {3} *▁+▂+▃+▄+▅+▆+▇+█+ 1,000$/);
    expect(lines[1]).toMatch(/0 +0\.8 s$/);
    expect(lines.every((line) => line.length <= 80)).toBe(true);
  });

  it("shows descriptors and memory of a program once they grow beyond what Node has at rest", () => {
    const server = (descriptors: number, mib: number): Sample["processes"][number] => ({
      name: "server",
      pid: 1,
      descriptors,
      rssBytes: mib * 1_048_576,
    });
    const grown = (descriptors: number, mib: number): string =>
      timelineChart([
        { ...sample(0, 0), processes: [server(4, 2)] },
        { ...sample(500, 0), processes: [server(descriptors, mib)] },
        { ...sample(900, 0), processes: [] },
      ]);
    expect(grown(36, 80)).toBe("");
    expect(grown(128, 200)).toMatch(
      /^ {4}server descriptors +▁+█+ +128\n {4}server memory +▁+█+ +200\.0 MiB\n/,
    );
  });

  it("loses no peak, however short, and draws the largest value at full height", () => {
    const counts = Array.from({ length: 101 }, (_, index) => (index === 50 ? 1 : 0));
    const chart = timelineChart(counts.map((count, index) => sample(index, count)));
    expect(chart).toMatch(/^ {4}clients TIME_WAIT +█ +1\n/);
  });

  it("is empty when nothing changed", () => {
    expect(timelineChart([sample(0, 5), sample(100, 5)])).toBe("");
    expect(timelineChart([])).toBe("");
  });
});

describe("thinnedOut", () => {
  it("keeps the first, the last, and no more than a hundred", () => {
    // 99 steps of 108/99 end a hair below 108: what rounds down would lose the last.
    const samples = Array.from({ length: 109 }, (_, index) => sample(index, 0));
    const kept = thinnedOut(samples);
    expect(kept).toHaveLength(100);
    expect([kept[0]!.tMs, kept.at(-1)!.tMs]).toEqual([0, 108]);
  });

  it("keeps a few as they are", () => {
    const few = [sample(0, 0), sample(1, 1), sample(2, 2)];
    expect(thinnedOut(few)).toEqual(few);
    expect(thinnedOut([])).toEqual([]);
  });
});
