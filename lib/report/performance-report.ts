/** performance-report: throughput and latencies, and what they do not say. */
import { bytes, count, ms, wrapped } from "./format.ts";
import type { PerformanceProgress, PerformanceResult } from "../programs/performance.ts";

const BAR = 24;

/** One line that grows. */
export function progressBar({ share, answered, perSecond }: PerformanceProgress): string {
  const done = Math.round(share * BAR);
  const bar = `${"#".repeat(done)}${".".repeat(BAR - done)}`;
  return `[${bar}] ${`${Math.round(share * 100)}`.padStart(3)} %  ${count(answered)} answered  ${count(Math.round(perSecond))}/s`;
}

/** A block of at most 80 columns. */
export function performanceReport(result: PerformanceResult): string {
  const { connections, inFlight, contentBytes, answered, durationMs, perSecond, latencyMs } =
    result;
  const what = contentBytes === 0 ? "pings" : `echoes of ${bytes(contentBytes)}`;
  const failed = Object.entries(result.failed).map(([code, many]) => `${code} ${count(many)}`);
  const { serverCounted, sent } = result;
  return [
    `load        ${count(connections)} connection(s), ${inFlight} in flight on each: ${what}`,
    result.ratePerSecond === 0
      ? "rate        as fast as it went"
      : `rate        ${count(result.ratePerSecond)}/s wanted`,
    `answered    ${count(answered)} in ${ms(durationMs)}: ${count(Math.round(perSecond))}/s`,
    ...(contentBytes === 0
      ? []
      : [`contents    ${bytes(perSecond * contentBytes)}/s in each direction`]),
    ...(latencyMs === undefined
      ? []
      : [
          `latency     p50 ${ms(latencyMs.p50)}, p90 ${ms(latencyMs.p90)}, p99 ${ms(latencyMs.p99)}, p99.9 ${ms(latencyMs.p999)}`,
          `            min ${ms(latencyMs.min)}, mean ${ms(latencyMs.mean)}, max ${ms(latencyMs.max)}`,
        ]),
    ...(failed.length === 0 ? [] : [`failed      ${failed.join(", ")}`]),
    ...(result.wrong === 0
      ? []
      : [`wrong       ${count(result.wrong)} answers were not what was sent`]),
    serverCounted === sent
      ? `checked     the server counted the same ${count(sent)} requests, warm-up included`
      : `checked     the server counted ${count(serverCounted)} requests, this side ${count(sent)}: others talk to it, too`,
    ...limits(result).map((sentence) => wrapped(sentence, "note        ")),
  ].join("\n");
}

/** What has to be known to read the figures. */
function limits({ clientCpu, ratePerSecond, perSecond }: PerformanceResult): readonly string[] {
  const share = `${Math.round(clientCpu * 100)} %`;
  return [
    clientCpu > 0.9
      ? `This client used ${share} of a core: it may be the limit, not the server.`
      : `This client used ${share} of a core.`,
    ...(ratePerSecond === 0
      ? [
          "Each lane waits for its answer before it asks again, so a server that stalls is asked less: these latencies are not those of independent users. --rate N measures those.",
        ]
      : perSecond < 0.98 * ratePerSecond
        ? [
            "The rate was not reached: latencies count from when a request was due, and the queue grew.",
          ]
        : []),
  ];
}
