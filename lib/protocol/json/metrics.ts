/**
 * metrics: what a server counts, as Prometheus reads it (text exposition format 0.0.4).
 *
 * Made when it is asked for; between two questions nothing but the server's own counters is kept.
 */
import type { JsonServer } from "./server.ts";
import type { Histogram } from "./tally.ts";

/** The content type of the text. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

type Sample = readonly [labels: string, value: number];

/** All metrics of a server, and of its process. */
export function metricsText(server: JsonServer): string {
  const { tally } = server;
  const { rss, heapUsed } = process.memoryUsage();
  return [
    metric("connections", "gauge", "Clients that are connected.", [["", server.clients()]]),
    metric("accepted_total", "counter", "Connections accepted, politely refused ones included.", [
      ["", tally.accepted],
    ]),
    metric("dropped_total", "counter", "Connections closed without a word: too many at once.", [
      ["", tally.droppedAtOnce],
    ]),
    metric("tls_failed_total", "counter", "TLS handshakes that failed.", [["", tally.tlsFailed]]),
    metric("messages_received_total", "counter", "Complete frames, good or bad.", [
      ["", tally.messages],
    ]),
    metric("messages_sent_total", "counter", "Messages sent, errors and broadcasts included.", [
      ["", tally.sent],
    ]),
    metric("received_bytes_total", "counter", "Bytes read from clients.", [["", tally.bytesIn]]),
    metric("sent_bytes_total", "counter", "Bytes handed to the kernel.", [["", tally.bytesOut]]),
    metric(
      "requests_total",
      "counter",
      "Requests handled, by type.",
      by("type", server.requests()),
    ),
    metric("errors_total", "counter", "Errors told to clients, by code.", by("code", tally.errors)),
    metric("closed_total", "counter", "Connections ended, by reason.", by("reason", tally.closed)),
    histogram("message_bytes", "Size of a frame's payload.", tally.sizes, 1),
    histogram(
      "handling_seconds",
      "From a chunk's arrival to its answers' departure; a handler that answers later counts by itself.",
      tally.times,
      1_000,
    ),
    metric("uptime_seconds", "gauge", "Since the server was made.", [
      ["", server.uptimeMs() / 1_000],
    ]),
    metric("resident_memory_bytes", "gauge", "Memory of the process.", [["", rss]]),
    metric("heap_used_bytes", "gauge", "Of it, in use by JavaScript.", [["", heapUsed]]),
  ].join("");
}

function by(label: string, counts: ReadonlyMap<string, number>): readonly Sample[] {
  return [...counts].map(([value, count]) => [`{${label}="${escaped(value)}"}`, count]);
}

/** Backslash, quote and newline are what the format wants escaped. */
function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function metric(
  name: string,
  type: "counter" | "gauge",
  help: string,
  samples: readonly Sample[],
): string {
  const lines = samples.map(([labels, value]) => `tcp_json_${name}${labels} ${value}\n`);
  return `${head(name, type, help)}${lines.join("")}`;
}

/** Buckets are cumulative; `perUnit` of ours make one of theirs. */
function histogram(
  name: string,
  help: string,
  { bounds, counts, sum }: Histogram,
  perUnit: number,
): string {
  let total = 0;
  const buckets = counts.map((count, index) => {
    total += count;
    const bound = bounds[index];
    const le = bound === undefined ? "+Inf" : `${bound / perUnit}`;
    return `tcp_json_${name}_bucket{le="${le}"} ${total}\n`;
  });
  return `${head(name, "histogram", help)}${buckets.join("")}tcp_json_${name}_sum ${sum / perUnit}\ntcp_json_${name}_count ${total}\n`;
}

function head(name: string, type: string, help: string): string {
  return `# HELP tcp_json_${name} ${help}\n# TYPE tcp_json_${name} ${type}\n`;
}
