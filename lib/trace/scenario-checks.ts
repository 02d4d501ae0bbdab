/** scenario-checks: what each scenario has to show. */
import type { ScenarioName } from "./scenarios.ts";
import { timeWaitEnd } from "./samples.ts";
import { check, ms, type Check, type View } from "./view.ts";

/** Scenario to its checks. */
export const SCENARIO_CHECKS: Readonly<Record<ScenarioName, (view: View) => readonly Check[]>> = {
  close: (view) => [...closedByClient(view), ...timeWaitChecks(view)],
  "half-close": (view) => {
    const fin = view.packet("client", "FIN");
    const after = view.data("server").filter(({ atNs }) => fin !== undefined && atNs > fin.atNs);
    const between = view.packets.some(
      ({ states }) => states?.client === "FIN_WAIT2" && states.server === "CLOSE_WAIT",
    );
    return [
      check(
        "the server sends data after the client's FIN",
        after.length > 0,
        `${after.length} segments`,
      ),
      check(
        "meanwhile: client FIN_WAIT2, server CLOSE_WAIT",
        between,
        between ? "seen" : "not seen",
      ),
      ...closedByClient(view),
    ];
  },
  reset: (view) => [
    check(
      "the client sends RST, nobody sends FIN",
      view.packet("client", "RST") !== undefined &&
        view.packets.every((row) => !row.packet.flags.includes("FIN")),
      view.lastStates(),
    ),
    check(
      "the server's read() fails with ECONNRESET",
      view.hasError("server", "ECONNRESET"),
      view.hasError("server", "ECONNRESET") ? "ECONNRESET" : "no such error",
    ),
    check(
      "no TIME_WAIT on either side",
      view.seen.comparison !== undefined &&
        Object.values(view.seen.comparison.seen).every((states) => !states.includes("TIME_WAIT")),
      view.lastStates(),
    ),
  ],
  refused: (view) => [
    check(
      "the SYN is answered with a RST",
      view.packet("server", "RST") !== undefined,
      `${view.packets.length} packets`,
    ),
    check(
      "the program is told ECONNREFUSED",
      view.hasError("client", "ECONNREFUSED"),
      view.hasError("client", "ECONNREFUSED") ? "ECONNREFUSED" : "no such error",
    ),
  ],
  "queue-full": queueChecks,
  nagle: nagleChecks,
  "keep-alive": keepAliveChecks,
  partial: partialChecks,
  udp: (view) => {
    const calls = (["client", "server"] as const)
      .flatMap((side) => view.calls(side, /^(connect|accept)/))
      .map(({ call }) => call.name);
    return [
      check(
        "two datagrams, and no other packet",
        view.packets.length === 2 && view.packets.every(({ packet }) => packet.length > 0),
        `${view.packets.length} packets`,
      ),
      check("no connect(), no accept()", calls.length === 0, calls.join(", ") || "none"),
    ];
  },
};

function closedByClient(view: View): readonly Check[] {
  const last = view.packets.at(-1)?.states;
  return [
    check(
      "who closes first has TIME_WAIT, the other side nothing",
      last?.client === "TIME_WAIT" && last.server === "CLOSE",
      view.lastStates(),
    ),
  ];
}

/** The kernel's timer was seen counting down from 60 s; with --wait also its end. */
function timeWaitChecks(view: View): readonly Check[] {
  const { seen, timeline, packets } = view;
  const { client } = timeline.conversation;
  const local = `${client.address}:${client.port}`;
  const last = packets.at(-1)?.atNs;
  const rows = seen.recording.samples.flatMap(({ toNs, rows }) =>
    rows
      .filter((row) => row.local === local && row.state === "TIME_WAIT")
      .map((row) => ({ atNs: BigInt(toNs), remainingMs: row.timer?.remainingMs ?? 0 })),
  );
  const [first] = rows;
  if (first === undefined || last === undefined) return [];
  const endMs = Number(first.atNs - last) / 1e6 + first.remainingMs;
  const text = "the kernel's own timer says how long TIME_WAIT lasts: 60 s";
  return [
    check(text, Math.abs(endMs - 60_000) < 1_000, `${(endMs / 1_000).toFixed(1)} s`),
    ...itsEnd(view, last),
  ];
}

function itsEnd({ seen, timeline }: View, lastNs: bigint): readonly Check[] {
  const end = timeWaitEnd(timeline.conversation, seen.recording.samples);
  if (end === undefined) return [];
  const lastedMs = Number(end.atNs - lastNs) / 1e6;
  const found = `${(lastedMs / 1_000).toFixed(1)} s after the last packet`;
  return [check("TIME_WAIT ended when it was to", Math.abs(lastedMs - 60_000) < 2_000, found)];
}

function queueChecks(view: View): readonly Check[] {
  const syns = view.packets.filter(
    (row) => row.side === "client" && row.packet.flags.includes("SYN"),
  );
  const [first, second] = syns;
  const waitMs =
    first === undefined || second === undefined ? 0 : Number(second.atNs - first.atNs) / 1e6;
  const { server } = view.timeline.conversation;
  const queued = view.seen.recording.samples.flatMap(({ rows }) =>
    rows
      .filter((row) => row.state === "LISTEN" && row.local.endsWith(`:${server.port}`))
      .map((row) => row.recvQ),
  );
  const most = Math.max(0, ...queued);
  return [
    check("the accept queue was full: backlog 1 holds 2", most === 2, `${most} waited`),
    check(
      "the SYN was dropped and sent again after a second",
      waitMs > 900 && waitMs < 1_300,
      `${waitMs.toFixed(0)} ms`,
    ),
  ];
}

function nagleChecks(view: View): readonly Check[] {
  const second = view.data("client").at(-1);
  const write = view.calls("client", /^(write|send)/).at(-1);
  if (second === undefined || write === undefined) return [check("two segments", false, "fewer")];
  const heldNs = second.atNs - write.call.beginNs;
  const ack = view.packets.findLast((row) => row.side === "server" && row.atNs < second.atNs);
  return [
    check(
      "the second half left only when the first was acknowledged",
      heldNs > 30_000_000n,
      `${ms(heldNs)} after its write()`,
    ),
    check(
      "what came just before is that ACK, and nothing else",
      ack?.packet.length === 0 && second.atNs - ack.atNs < 5_000_000n,
      ack === undefined ? "nothing" : `${ms(second.atNs - ack.atNs)} before`,
    ),
  ];
}

function keepAliveChecks(view: View): readonly Check[] {
  const index = view.packets.findIndex(({ packet }) => packet.note === "keep-alive probe");
  const [before, probe, answer] = [
    view.packets[index - 1],
    view.packets[index],
    view.packets[index + 1],
  ];
  if (probe === undefined || before === undefined)
    return [check("a probe was sent", false, "none")];
  const idle = probe.atNs - before.atNs;
  return [
    check(
      "the kernel asks after a second without traffic",
      idle > 900_000_000n && idle < 1_300_000_000n,
      ms(idle),
    ),
    check(
      "the other kernel answers at once; neither program is told",
      answer?.side === "server" && answer.packet.length === 0,
      answer === undefined ? "no answer" : `after ${ms(answer.atNs - probe.atNs)}`,
    ),
  ];
}

function partialChecks(view: View): readonly Check[] {
  const asked = view.timeline.rows.flatMap((row) =>
    row.kind === "call" && row.phase !== "begin" ? [row] : [],
  );
  const part = asked.find(
    ({ name, facts }) =>
      name.startsWith("write") && facts.got !== undefined && facts.got < (facts.asked ?? 0),
  );
  const again = view
    .calls("client", /./)
    .some(
      ({ call, events }) =>
        events?.includes("EPOLLOUT") === true && part !== undefined && call.beginNs > part.atNs,
    );
  return [
    check(
      "a write() took less than it was given",
      part !== undefined,
      part === undefined ? "none" : `${part.facts.got} of ${part.facts.asked} bytes`,
    ),
    check("epoll said when there was room again", again, again ? "EPOLLOUT" : "never"),
  ];
}
