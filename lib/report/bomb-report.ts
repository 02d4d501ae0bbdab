/** bomb-report: what was predicted, what happened, and the evidence. */
import Table from "cli-table3";
import type { Exhaustion } from "../kernel/exhaustion.ts";
import type { BombProgress, BombResult } from "../programs/bomb.ts";
import type { Percentiles } from "../protocol/percentiles.ts";
import type { StateCounts } from "../sockets/record.ts";
import { count, ms, wrapped } from "./format.ts";
import { PLAIN_TABLE } from "./plain-table.ts";
import { failureLines, NOBODY_LISTENS } from "./visits-report.ts";

/** TCP_TIMEWAIT_LEN, include/net/tcp.h. */
const TIME_WAIT_MS = 60_000;

/** What a bomb says before it starts: the prediction, and whether this machine can show the failure at all. */
export function bombOpening(
  destination: string,
  predicted: Exhaustion,
  ratePerSecond: number,
): string {
  const limited = ratePerSecond > 0 ? `, at most ${count(ratePerSecond)} per second` : "";
  const hint = cannotExhaustText(predicted);
  return [
    `bomb: opening and closing connections to ${destination}${limited}. Ctrl-C to stop.`,
    wrapped(predictionText(predicted), "Prediction: "),
    ...(hint === undefined ? [] : [wrapped(hint)]),
  ].join("\n");
}

/** The prediction in words, before anything has happened. */
export function predictionText(predicted: Exhaustion): string {
  const ports = count(predicted.capacity);
  switch (predicted.kind) {
    case "certain":
      return (
        `EADDRNOTAVAIL after ${connections(predicted.capacity)}: that many ports are free, ${waitingText(predicted.waiting)}and each stays in TIME_WAIT for 60 s ` +
        `after its close.${oddText(predicted.missable)} In the long run ${sustainedText(predicted.sustainablePerSecond)}.`
      );
    case "above-rate":
      return (
        `no failure below ${connections(Math.round(predicted.perSecond))} per second: tcp_tw_reuse gives a port back ` +
        `${predicted.delayMs} ms after its close, and ${ports} are free.`
      );
    case "capped":
      return (
        `no failure: the kernel keeps ${count(predicted.maxTimeWaits)} TIME_WAITs at a time (tcp_max_tw_buckets), ` +
        "fewer than there are ports; who closes beyond them has the port back at once."
      );
    case "never":
      return predicted.capacity === 0 ? noPortText(predicted) : `${neverText(predicted)}.`;
  }
}

function neverText({ reason }: Exhaustion & { readonly kind: "never" }): string {
  return reason === "closed by RST"
    ? "no failure: a RST leaves no TIME_WAIT, so every port is free again at once"
    : "no failure: who closes first keeps the TIME_WAIT, here the server; its port is one and the same for all";
}

function noPortText(predicted: Exhaustion & { readonly kind: "never" }): string {
  const { waiting } = predicted;
  if (waiting === 0) return "EADDRNOTAVAIL at once: every port is in use.";
  return `EADDRNOTAVAIL at once: no port is free, ${count(waiting)} are in TIME_WAIT, for up to 60 s. After that ${neverText(predicted)}.`;
}

function connections(number: number): string {
  return number === 1 ? "1 connection" : `${count(number)} connections`;
}

/** Of fewer ports than a TIME_WAIT has seconds it is not even one a second. */
function sustainedText(perSecond: number): string {
  if (perSecond >= 1) return `${connections(Math.floor(perSecond))} per second`;
  return `one connection every ${(1 / perSecond).toFixed(1)} s`;
}

function waitingText(waiting: number): string {
  return waiting === 0 ? "" : `${count(waiting)} more are in TIME_WAIT already, `;
}

function oddText(missable: number): string {
  if (missable === 0) return "";
  return ` It may be ${count(missable)} less: of an odd number of ports connect() searches one less at a time.`;
}

/** What to do on a machine that cannot show the failure; undefined where it can. Nearly every tutorial misses this. */
export function cannotExhaustText(predicted: Exhaustion): string | undefined {
  if (predicted.kind !== "above-rate") return undefined;
  const why =
    predicted.mode === 2
      ? "This is the default (tcp_tw_reuse=2) for loopback since Linux 4.18"
      : `This is tcp_tw_reuse=${predicted.mode}, set by somebody, for any destination`;
  return (
    `${why}, so the classic demonstration does not fail here. ` +
    "To see it fail: make lab NAME=time-wait-exhaustion, or make shell and the bomb in there (installed by npm: tcp-failure-lab run, tcp-failure-lab shell)."
  );
}

/** The line that changes while the bomb runs. */
export function bombLine(now: BombProgress): string {
  return (
    `${count(now.successes)} connections  ${count(Math.round(now.perSecond))}/s  ` +
    `TIME_WAIT or FIN_WAIT2 ${count(now.timeWait)}  range ${Math.round(now.fill * 100)} % used`
  );
}

/** The whole story at the end. */
export function bombReport(result: BombResult): string {
  const { attempts, successes, durationMs, closedFirst } = result;
  const rate = `${count(Math.round(result.ratePerSecond))}/s`;
  return [
    wrapped(predictionText(result.predicted), "predicted  "),
    `measured   ${count(successes)} of ${count(attempts)} succeeded in ${ms(durationMs)}, ${rate}`,
    ...failureLines(result.failures, " ".repeat("measured   ".length)),
    ...explanations(result).map((line) => wrapped(line, "explained  ")),
    `closed     first by us ${count(closedFirst.us)}, by the server ${count(closedFirst.server)}`,
    ...(successes === 0 ? [] : ["", latencyTable(result.connectByFill), "", statesTable(result)]),
  ].join("\n");
}

/** What would puzzle the reader, with the counter of the kernel that accounts for it. */
function explanations(result: BombResult): readonly string[] {
  if (result.failures["ECONNREFUSED"] !== undefined) return [NOBODY_LISTENS];
  const explain = [
    moreThanPorts,
    notKept,
    outOfDescriptors,
    resetByServer,
    heldByServer,
    leftOpen,
    passedOver,
    unfinished,
    cutOff,
    overflowed,
  ];
  const lines = explain.map((one) => one(result));
  return lines.filter((line) => line !== undefined);
}

function moreThanPorts(result: BombResult) {
  const { predicted, successes, failures, counters, durationMs } = result;
  const more = successes - predicted.capacity;
  if (predicted.kind !== "certain" || failures["EADDRNOTAVAIL"] === undefined || more <= 0) return;
  const resets = counters["TcpOutRsts"] ?? 0;
  const isOver = predicted.waiting > 0 || durationMs >= TIME_WAIT_MS;
  return `${count(more)} more than there are ports: ${freedBy(resets >= more, isOver)} (TcpOutRsts ${count(resets)}; RFC 1337)`;
}

/** What gave ports back: can TIME_WAITs have lasted their time? */
function freedBy(wereReset: boolean, canBeOver: boolean): string {
  if (wereReset) return "a RST ended that many TIME_WAITs early";
  if (canBeOver)
    return "that many TIME_WAITs have ended meanwhile, after their 60 s or early by a RST";
  return "where the server's FIN was faster than ours the TIME_WAIT is on its side, and our port is free at once; and a RST ends a TIME_WAIT early";
}

function notKept({ counters }: BombResult) {
  const dropped = counters["TcpExtTCPTimeWaitOverflow"] ?? 0;
  if (dropped === 0) return;
  return `${count(dropped)} TIME_WAITs were not kept, being more than tcp_max_tw_buckets (TcpExtTCPTimeWaitOverflow): ports are free at once, and late segments may stray into the next connection`;
}

function outOfDescriptors({ failures }: BombResult) {
  if (failures["EMFILE"] === undefined) return;
  return "EMFILE: this program has no descriptor left, for each attempt under way needs one: lower --concurrency, or raise ulimit -n";
}

/** The handshake was done, or there would be no RST of that kind; Node asks for the result of connect() only afterwards. */
function resetByServer({ failures }: BombResult) {
  if (failures["ECONNRESET"] === undefined) return;
  return "ECONNRESET: the server's kernel had accepted, and a RST came before this program had looked: a server that resets what it accepts, or a full accept queue with tcp_abort_on_overflow=1";
}

/** A server that leaks: no TIME_WAIT begins before its FIN has come. */
function heldByServer({ failures, after: { clients } }: BombResult) {
  if (failures["EADDRNOTAVAIL"] === undefined || clients.FIN_WAIT2 <= clients.TIME_WAIT) return;
  return `${count(clients.FIN_WAIT2)} ports are in FIN_WAIT2, not in TIME_WAIT, for the server has not closed: tcp_tw_reuse does not give them back (since Linux 6.12; before, it reset the connections that the server still had), the end of tcp_fin_timeout does`;
}

/** connect() succeeds when the kernel has done the handshake: what the server's program makes of it does not show here. */
function leftOpen({ successes, after: { server } }: BombResult) {
  const held = server.CLOSE_WAIT;
  if (held * 10 < successes || held < 10) return;
  return `the server has not closed ${count(held)} connections that we have closed (CLOSE_WAIT): it leaks them, or has not come to them yet. For connect() all is well as long as its kernel completes handshakes, accepted or not; what its program says is another matter`;
}

function passedOver({ failures }: BombResult) {
  const { count } = failures["EADDRINUSE"] ?? { count: 0 };
  if (count === 0) return;
  const ports = count === 1 ? "1 port was" : `${count} ports were`;
  return `${ports} passed over: bind() refuses a port that somebody listens on, or that the kernel chose for another connection`;
}

function unfinished({ attempts, successes, failures }: BombResult) {
  const failed = Object.values(failures).reduce((sum, { count }) => sum + count, 0);
  const left = attempts - successes - failed;
  if (left > 0) return `${count(left)} still connecting at the end, and cut off`;
  return undefined;
}

function cutOff({ predicted, closedFirst: { us } }: BombResult) {
  if (predicted.kind !== "never" || predicted.reason === "closed by RST" || us === 0) return;
  return `${us} of these the server had not closed when time was up, so we did: server --behave close-first closes first`;
}

function overflowed({ counters }: BombResult) {
  const overflows = counters["TcpExtListenOverflows"] ?? 0;
  if (overflows === 0) return;
  return `a full accept queue dropped SYNs (TcpExtListenOverflows ${overflows}): each costs its connect() a second or more`;
}

function latencyTable(steps: readonly (Percentiles | undefined)[]): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["range used", "connects", "p50", "p90", "p99", "max"],
    colAligns: ["right", "right", "right", "right", "right", "right"],
  });
  steps.forEach((step, index) => {
    if (step === undefined) return;
    const { p50Ms, p90Ms, p99Ms, maxMs } = step;
    table.push([
      `${index * 10}-${index * 10 + 10} %`,
      count(step.count),
      ms(p50Ms),
      ms(p90Ms),
      ms(p99Ms),
      ms(maxMs),
    ]);
  });
  return table.toString();
}

function statesTable({ before, after }: BombResult): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ["state", "ours before", "after", "server's before", "after"],
    colAligns: ["left", "right", "right", "right", "right"],
  });
  for (const state of Object.keys(before.clients) as (keyof StateCounts)[])
    table.push([
      state,
      ...[
        before.clients[state],
        after.clients[state],
        before.server[state],
        after.server[state],
      ].map(count),
    ]);
  return table.toString();
}
