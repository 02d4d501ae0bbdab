/** trace-latency: percentiles of the parts of a connection, beside what is said of them elsewhere. */
import type { ChalkInstance } from "chalk";
import type { Latencies, Percentiles } from "../trace/latency.ts";
import { count, wrapped } from "./format.ts";

const PERCENTILES = ["min", "p50", "p90", "p99", "max"] as const;
const NAME_WIDTH = 43;

/** A table of microseconds, 80 columns wide, and what keeps it from being another one. */
export function latencyReport({ parts, withoutTcpdump }: Latencies, paint: ChalkInstance): string {
  const [first] = parts;
  const rows = (where: "kernel" | "program"): string[] =>
    parts.filter((part) => part.where === where).map(({ name, us }) => row(name, us));
  const connect = parts.find(({ name }) => name.startsWith("connect()"));
  return [
    `${count(first?.us.count ?? 0)} connections over loopback, one after the other; microseconds`,
    "",
    paint.bold(row("", undefined)),
    paint.bold("in the kernel"),
    ...rows("kernel"),
    paint.bold("until a program knows"),
    ...rows("program"),
    "",
    wrapped(
      "In the kernel: no interrupt and no wire. On loopback the system call that sends a segment carries it to the receiver's queue itself, and the answer comes back within the same call.",
    ),
    wrapped(
      "Until a program knows: a process that sleeps in epoll_wait() has to be woken up and given a processor, and Node calls JavaScript after that. On a busy machine this part grows, the other does not.",
    ),
    wrapped(quotedText(parts)),
    wrapped(
      `tcpdump listens meanwhile: connect() to connected takes ${us(connect?.us.p50)} with it and ${us(withoutTcpdump.p50)} without (medians).`,
    ),
  ].join("\n");
}

/** What tutorials say, without naming a machine: beside it, what was measured. */
function quotedText(parts: Latencies["parts"]): string {
  const named = (name: string): Percentiles | undefined =>
    parts.find((part) => part.name === name)?.us;
  const accept = named("SYN to accept() returned");
  return `Often quoted: 200 us to process a packet, against ${us(named("SYN to SYN-ACK")?.p50)} here for a SYN and its answer; 1.7 ms from the SYN to accept(), against ${us(accept?.p50)} (p99 ${us(accept?.p99)}). Such a figure says how long a process waited for a processor, not what TCP costs.`;
}

function row(name: string, us: Percentiles | undefined): string {
  const cells = PERCENTILES.map((at) => (us === undefined ? at : number(us[at])).padStart(7));
  return (name === "" ? "" : `  ${name}`).padEnd(NAME_WIDTH) + cells.join("");
}

function number(value: number): string {
  if (value >= 100_000) return `${(value / 1e6).toFixed(2)} s`;
  return value < 100 ? value.toFixed(1) : count(Math.round(value));
}

function us(value: number | undefined): string {
  return `${number(value ?? NaN)} us`;
}

/** The same as data, version 1: microseconds. */
export function latencyJson(latencies: Latencies): string {
  return JSON.stringify({ version: 1, unit: "us", ...latencies });
}
