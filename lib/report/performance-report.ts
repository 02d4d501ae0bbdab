/** performance-report: throughput and latencies, and what they do not say. */
import { bytes, count, ms, safe, wrapped } from "./format.ts";
import type { Load, LoadProgress } from "../programs/load-run.ts";
import type { PerformanceResult } from "../programs/performance.ts";

const BAR = 24;

/** What is about to happen. */
export function performanceOpening(address: string, load: Load): string {
  const { connections, warmupMs, durationMs, openPerSecond } = load;
  const opened = openPerSecond === Infinity ? "" : `, ${openPerSecond} new ones per second`;
  return wrapped(
    `client: ${count(connections)} to ${address}${opened}: warm-up ${ms(warmupMs)}, then ${ms(durationMs)}. Ctrl-C to stop.`,
  );
}

/** One line that grows. */
export function progressBar({ share, answered, perSecond }: LoadProgress): string {
  const done = Math.round(share * BAR);
  const bar = `${"#".repeat(done)}${".".repeat(BAR - done)}`;
  return `[${bar}] ${`${Math.round(share * 100)}`.padStart(3)} %  ${count(answered)} answered  ${count(Math.round(perSecond))}/s`;
}

/** A block of at most 80 columns. */
export function performanceReport(result: PerformanceResult): string {
  const { connections, inFlight, contentBytes, answered, durationMs, perSecond, latencyMs } =
    result;
  const what = contentBytes === 0 ? "pings" : `echoes of ${bytes(contentBytes)}`;
  return [
    `load        ${count(connections)} connection(s), ${inFlight} in flight on each: ${what}`,
    result.ratePerSecond === 0
      ? "rate        as fast as it went"
      : `rate        ${count(result.ratePerSecond)}/s wanted`,
    answered === 0
      ? "answered    0"
      : `answered    ${count(answered)} in ${ms(durationMs)}: ${count(Math.round(perSecond))}/s`,
    ...(contentBytes === 0 || answered === 0
      ? []
      : [`contents    ${bytes(perSecond * contentBytes)}/s in each direction`]),
    ...(latencyMs === undefined
      ? []
      : [
          `latency     p50 ${ms(latencyMs.p50)}, p90 ${ms(latencyMs.p90)}, p99 ${ms(latencyMs.p99)}, p99.9 ${ms(latencyMs.p999)}`,
          `            min ${ms(latencyMs.min)}, mean ${ms(latencyMs.mean)}, max ${ms(latencyMs.max)}`,
        ]),
    ...byCode("failed      ", "request(s)", result.failed),
    ...byCode("lost        ", "connection(s)", result.lost),
    ...(result.wrong === 0
      ? []
      : [`wrong       ${count(result.wrong)} answers were not what was sent`]),
    wrapped(checked(result), "checked     "),
    ...limits(result).map((sentence) => wrapped(sentence, "note        ")),
  ].join("\n");
}

function byCode(
  head: string,
  what: string,
  counts: Readonly<Record<string, number>>,
): readonly string[] {
  const texts = Object.entries(counts).map(([code, many]) => `${count(many)} ${code}`);
  return texts.length === 0 ? [] : [wrapped(`${what}: ${safe(texts.join(", "))}`, head)];
}

function checked({ serverCounted, sent }: PerformanceResult): string {
  if (serverCounted === undefined)
    return "no: the server could not be asked for its count at the end";
  if (serverCounted === sent)
    return `the server counted the same ${count(sent)} requests, warm-up included`;
  const why = serverCounted > sent ? "others talk to it, too" : "the rest did not arrive";
  return `the server counted ${count(serverCounted)} requests, this side ${count(sent)}: ${why}`;
}

/** What has to be known to read the figures. */
function limits({ clientCpu, ratePerSecond, unsent }: PerformanceResult): readonly string[] {
  const share = `${Math.round(clientCpu * 100)} %`;
  return [
    clientCpu > 0.9
      ? `This client used ${share} of a core: it may be the limit, not the server.`
      : `This client used ${share} of a core.`,
    ...(ratePerSecond === 0
      ? [
          "Each lane waits for its answer before it asks again, so a server that stalls is asked less: these latencies are not those of independent users. --rate N measures those.",
        ]
      : [
          "Latencies count from when a request was due, as those of independent users would.",
          ...(unsent === 0
            ? []
            : [
                `The rate was not reached: ${count(unsent)} requests were due at the end and not sent, and are in no latency.`,
              ]),
        ]),
  ];
}
