/**
 * capture: the socket table of this machine, through one of four observers.
 *
 * The only file of this room that runs anything. Tools run with LC_ALL=C, or net-tools would translate its states, and
 * with their output in a pipe, or ss would fit its columns to the terminal.
 */
import { readFileSync } from "node:fs";
import type { Source } from "./blind-spots.ts";
import { unlistedAfter, withUnlisted } from "./counted.ts";
import { readKernelNumbers } from "./kernel-numbers.ts";
import { ownedBy, readOwners } from "./owners.ts";
import { countSockets, parseSockets } from "./parse.ts";
import { parseProcNet, procNet } from "./proc-net.ts";
import { openCount, type ParsedText, type ReadOptions, type Tally } from "./reading.ts";
import type { SocketRecord, StateCounts } from "./record.ts";
import type { Predicate } from "./sinks.ts";

/** A source, or `auto`: ss where it is installed, else /proc; on other systems than Linux netstat. */
export type AskedSource = Source | "auto";

/** One table at one instant. */
export type Captured = {
  /** The source that was used. */
  readonly source: Source;
  /** What was run or read, as one could type it. */
  readonly command: string;
  readonly table: ParsedText;
  /** What the reader should know: a fallback, owners that may not be seen. */
  readonly notes: readonly string[];
};

/** How to capture. */
export type CaptureOptions = {
  /** Also find out owners, user ids, inodes and timers. Costs a walk through /proc/PID/fd. Default false. */
  readonly details?: boolean;
  /** Keep every record, or only count them, which is several times cheaper. Default `records`. */
  readonly keep?: "records" | "counts";
  /** Only records for which this is true count. */
  readonly where?: Predicate;
  /** What was there a moment ago: the source `counters` then lists what is less. */
  readonly before?: StateCounts;
  /** Ends the tool, if one is at work: then `capture` throws. */
  readonly signal?: AbortSignal;
};

/** A source that is not there, or that failed. `code` is stable; `cause.signal` is what has ended a tool. */
export class CaptureError extends Error {
  override name = "CaptureError";
  readonly code = "TFL_CAPTURE";
}

/**
 * Captures the TCP sockets of this network namespace.
 *
 * @throws CaptureError when the tool is missing or fails, ParseError when its output cannot be read.
 */
export async function capture(asked: AskedSource, options: CaptureOptions = {}): Promise<Captured> {
  if (asked === "proc") return captureProc(options);
  if (asked === "counters") return captureCounters(options);
  if (asked !== "auto") return captureTool(asked, options);
  if (process.platform !== "linux") return captureTool("netstat", options);
  try {
    return await captureTool("ss", options);
  } catch (error) {
    if (!(error instanceof CaptureError) || options.signal?.aborted === true) throw error;
    const captured = captureProc(options);
    return { ...captured, notes: [`${error.message}: read from /proc instead`, ...captured.notes] };
  }
}

/** How ss calls the states that need not be listed. */
const SS_NAMES = {
  ESTABLISHED: "established",
  CLOSE_WAIT: "close-wait",
  TIME_WAIT: "time-wait",
  FIN_WAIT2: "fin-wait-2",
} as const;

/**
 * Counts that do not look at every socket: only those that the kernel does not count itself come from ss.
 *
 * @throws CaptureError where the kernel has no such numbers.
 */
async function captureCounters({ before, signal }: CaptureOptions): Promise<Captured> {
  const unlisted = unlistedAfter(before);
  const command = ["ss", "-tano", ...unlisted.flatMap((state) => ["exclude", SS_NAMES[state]])];
  const { text } = await output({ command, package: "iproute2" }, signal);
  const table = parseSockets(text, "ss", { isLive: true });
  const counts = withUnlisted(table, unlisted, readKernelNumbers());
  if (counts === undefined)
    throw new CaptureError("this kernel has no /proc/net/sockstat and /proc/net/snmp");
  const from = "/proc/net/sockstat, /proc/net/snmp";
  return {
    source: "counters",
    command: `${from}, ${command.join(" ")}`,
    table: { ...table, counts },
    notes: [],
  };
}

/** Where to read from. */
export type ProcOptions = {
  /** A process in whose network namespace to look. Default: this one. */
  readonly pid?: number;
};

/**
 * The TCP sockets of a network namespace from /proc/net/tcp and tcp6, without owners. Synchronous, and starts no process:
 * for those who look often.
 *
 * @throws CaptureError where there is no /proc/net/tcp.
 */
export function readProcNet(options: ProcOptions = {}): readonly SocketRecord[] {
  return procTexts(options).flatMap((text) => parseProcNet(text, { protocol: "tcp" }).records);
}

/** The same, counts only: about a tenth of the cost at 100,000 sockets. */
export function countProcNet(options: ProcOptions = {}): StateCounts {
  return countTexts(procTexts(options)).counts;
}

function countTexts(texts: readonly string[]): Tally {
  const count = openCount({ formats: [procNet], name: procNet.name }, { protocol: "tcp" });
  for (const text of texts) count.push(text);
  return count.finish();
}

/** A table without its records, where nobody wants them. */
function read(
  text: string,
  format: string,
  options: ReadOptions,
  keep: CaptureOptions["keep"] = "records",
): ParsedText {
  if (keep === "records") return parseSockets(text, format, options);
  return { ...countSockets(text, format, options), records: [], skipped: [] };
}

function captureProc({ details = false, keep, where }: CaptureOptions): Captured {
  const command = "cat /proc/net/tcp /proc/net/tcp6";
  const text = procTexts({}).join("");
  const filter = where === undefined ? {} : { where };
  if (!details) {
    const table = read(text, "procnet", { protocol: "tcp", ...filter }, keep);
    return { source: "proc", command, table, notes: [] };
  }
  // Owners first: the filter may ask for one.
  const owners = readOwners();
  const table = parseSockets(text, "procnet", {
    protocol: "tcp",
    where: (record) => where?.(ownedBy(owners, record)) ?? true,
  });
  const records = table.records.map((record) => ownedBy(owners, record));
  const ownerless = records.filter(({ owners, inode }) => owners.length === 0 && inode !== 0);
  const { length } = ownerless;
  const held = length === 1 ? "1 socket is held" : `${length} sockets are held`;
  const notes = length === 0 ? [] : [`${held} where we cannot look, such as by other users`];
  return { source: "proc", command, table: { ...table, records }, notes };
}

/** The texts of /proc/net/tcp and, where the kernel has IPv6, /proc/net/tcp6. Same error. */
export function procTexts({ pid }: ProcOptions = {}): string[] {
  const directory = `/proc/${pid ?? "self"}/net`;
  try {
    // Every byte is ASCII, and latin1 is the decoder that does not have to check that.
    return [readFileSync(`${directory}/tcp`, "latin1"), ...ipv6Text(directory)];
  } catch (error) {
    throw new CaptureError(`cannot read ${directory}/tcp: ${(error as Error).message}`);
  }
}

/** A kernel without IPv6 has no such file. */
function ipv6Text(directory: string): string[] {
  try {
    return [readFileSync(`${directory}/tcp6`, "latin1")];
  } catch {
    return [];
  }
}

type Words = readonly string[];

type Tool = {
  readonly command: Words;
  /** What to try when the tool does not know the options. */
  readonly plain?: Words;
  /** The package that brings it. */
  readonly package: string;
};

function toolFor(source: "ss" | "netstat" | "lsof", details: boolean): Tool {
  switch (source) {
    case "ss":
      return {
        command: details ? ["ss", "-tan", "-p", "-e", "-o"] : ["ss", "-tan"],
        package: "iproute2",
      };
    case "netstat":
      return {
        command: netstatCommand(details),
        // busybox has neither -W nor -p everywhere, the net-tools of RHEL 6 no -W.
        ...(process.platform === "linux" ? { plain: ["netstat", "-tan"] } : {}),
        package: "net-tools",
      };
    case "lsof":
      return {
        // pid, command, user id, descriptor, type, protocol, name, device, inode, and with T state and queues.
        command: ["lsof", "-nP", "-iTCP", "-Tqs", "-FpcuftPndiT"],
        package: "lsof",
      };
  }
}

/** -W keeps addresses whole. The netstat of other systems takes -p for the protocol. */
function netstatCommand(details: boolean): Tool["command"] {
  if (process.platform === "win32") return ["netstat", "-ano"];
  if (process.platform !== "linux") return ["netstat", "-an", "-p", "tcp"];
  return details ? ["netstat", "-tanW", "-p", "-e"] : ["netstat", "-tanW"];
}

async function captureTool(
  source: "ss" | "netstat" | "lsof",
  { details = false, keep, where, signal }: CaptureOptions,
): Promise<Captured> {
  const tool = toolFor(source, details);
  const options: ReadOptions = { isLive: true, ...(where === undefined ? {} : { where }) };
  const { text, command, notes } = await output(tool, signal);
  const table = read(text, source, options, keep);
  return { source, command: command.join(" "), table, notes };
}

type Output = { readonly text: string; readonly command: Words; readonly notes: readonly string[] };

async function output(tool: Tool, signal: AbortSignal | undefined): Promise<Output> {
  const { execa } = await import("execa");
  const [file = "", ...args] = tool.command;
  const result = await execa(file, args, {
    env: { LC_ALL: "C" },
    reject: false,
    stripFinalNewline: false,
    maxBuffer: 1024 * 1024 * 1024,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  if (result.code === "ENOENT")
    throw new CaptureError(`${file} is not installed (package ${tool.package})`);
  const complaint = firstLine(result.stderr.trim());
  if (!result.failed || (!result.isTerminated && hasAnswered(file, result))) {
    const notes = result.failed && complaint !== "" ? [complaint] : [];
    return { text: result.stdout, command: tool.command, notes };
  }
  if (tool.plain !== undefined && !result.isTerminated)
    return output({ command: tool.plain, package: tool.package }, signal);
  throw new CaptureError(
    `${tool.command.join(" ")}: ${complaint || firstLine(result.shortMessage)}`,
    { cause: cause(result) },
  );
}

/** Too much output is ended by a signal as well, but by ours. */
function cause({ isMaxBuffer, signal }: { isMaxBuffer: boolean; signal?: string }): unknown {
  return isMaxBuffer ? undefined : { signal };
}

function firstLine(text = ""): string {
  return text.split("\n", 1).join("");
}

/** lsof also exits with 1 when there is nothing to list. */
function hasAnswered(
  file: string,
  { stdout, stderr }: { stdout: string; stderr: string },
): boolean {
  return stdout !== "" || (file === "lsof" && stderr === "");
}
