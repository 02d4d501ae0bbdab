/**
 * bench: what an arm works with. Lives inside the sandbox, in the arm's process.
 *
 * Predict first, then run, then measure: a prediction is told to the runner before anything happens, and an arm that
 * does not measure what it predicted has failed.
 */
import { setTimeout as pauseMs } from "node:timers/promises";
import { counter, readCounters, type Counters } from "../kernel/counters.ts";
import { freeDescriptors, isStopped } from "../kernel/process.ts";
import type { Rung } from "../kernel/sandbox.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctl.ts";
import { procTexts, readProcNet } from "../sockets/capture.ts";
import { procListenerView, type ListenerView } from "../sockets/listener.ts";
import type { SocketRecord } from "../sockets/record.ts";
import {
  checkClaim,
  expectationText,
  exactly,
  type Expectation,
  type Explanation,
} from "./claim.ts";
import type { ArmEvent, Rules, Sample, Setting } from "./events.ts";
import {
  runProgram,
  startProgram,
  startScript,
  startServer,
  type ProgramName,
  type ProgramOptions,
} from "./program.ts";
import type { Running, RunningServer, Script, ServerSummary } from "./program.ts";
import { Sampler } from "./sampler.ts";

/** The arm cannot be shown under these conditions. Not a failure: the result says why. */
export class SkipArm extends Error {
  override name = "SkipArm";
}

/** A value to come. */
export type Predicted = {
  /** Makes the claim. A difference from the prediction needs a counter that accounts for all of it. */
  readonly measured: (value: number | string, explanation?: Explanation) => void;
};

const FIRST_PORT = 8080;
const POLL_MS = 20;
const SETTLED_READINGS = 8;

/** Tools of an arm. */
export class Bench {
  readonly #rung: Rung;
  readonly #emit: (event: ArmEvent) => void;
  readonly #countersAtStart: Counters = readCounters();
  readonly #sampler: Sampler;
  readonly #open = new Set<string>();
  /** Counters read since the last claim, and their increase. */
  readonly #read = new Map<string, number>();
  #nextPort = FIRST_PORT;
  readonly #programs: (Running | Script)[] = [];
  readonly #servers: RunningServer[] = [];

  constructor(rung: Rung, emit: (event: ArmEvent) => void) {
    this.#rung = rung;
    this.#emit = emit;
    this.#sampler = new Sampler(rung !== "here");
  }

  /** Tells the user what happens next. */
  say(text: string): void {
    this.#emit({ event: "say", text });
  }

  /** Tells the user what cannot be shown here, and why. */
  note(text: string): void {
    this.#emit({ event: "note", text });
  }

  /** States a claim before the run. `because` says how the value was computed. */
  predict(text: string, expected: number | string | Expectation, because?: string): Predicted {
    const expectation = typeof expected === "object" ? expected : exactly(expected);
    const prediction = {
      text,
      expected: expectation,
      ...(because === undefined ? {} : { because }),
    };
    this.#open.add(text);
    this.#emit({
      event: "predicted",
      text,
      predicted: expectationText(expectation),
      ...(because === undefined ? {} : { because }),
    });
    return {
      measured: (value, explanation) => {
        this.#open.delete(text);
        this.#emit({
          event: "claim",
          claim: checkClaim(prediction, value, explanation ?? this.#others()),
        });
        this.#read.clear();
      },
    };
  }

  /** Outside a sandbox a counter that was read for a claim has counted everybody's connections, not only the arm's. */
  #others(): Explanation | undefined {
    if (this.#rung !== "here" || this.#read.size === 0) return undefined;
    return {
      counter: [...this.#read.keys()].join(" + "),
      value: [...this.#read.values()].reduce((sum, count) => sum + count, 0),
      because: "with --here other programs of this machine count too",
    };
  }

  /** Sets a parameter of the sandbox's network. Outside one (`--here`) no parameter is ever changed: the arm is skipped. */
  sysctl(name: string, value: string | number): void {
    if (this.#rung === "here")
      throw new SkipArm(`needs ${name}=${value}; --here changes no parameter of this machine`);
    const before = readSysctl(name) ?? "";
    writeSysctl(name, value);
    this.hasSet({ name, before, value: readSysctl(name) ?? "" });
  }

  /** Tells the user which parameter has another value now. */
  hasSet(setting: Setting): void {
    this.#emit({ event: "set", setting });
  }

  /** Tells the user which packets are lost, counted or changed from now on. */
  hasRules(rules: Rules): void {
    this.#emit({ event: "rules", rules });
  }

  /** The same for a parameter that not every kernel has; nothing happens where there is none of that name. */
  sysctlIfPresent(name: string, value: string | number): void {
    if (readSysctl(name) !== undefined) this.sysctl(name, value);
  }

  /** Starts a server and waits until it listens. */
  async server(flags: readonly string[] = [], options?: ProgramOptions): Promise<RunningServer> {
    // A sandbox has all ports to itself; elsewhere any free one has to do.
    const port = this.#rung === "here" ? 0 : this.#nextPort;
    this.#nextPort += 1;
    const server = await startServer(["--port", `${port}`, ...flags], options);
    this.#servers.push(server);
    this.#sampler.watchPort(server.port);
    this.#sampler.watchProcess("server", server.pid);
    return server;
  }

  /** Runs a client program to its end and returns what it printed. */
  run<T>(name: ProgramName, flags: readonly string[], options?: ProgramOptions): Promise<T> {
    return runProgram<T>(name, flags, { ...options, env: this.#toFirstServer() });
  }

  /** Starts a client program that goes on while the arm does other things. */
  start(name: ProgramName, flags: readonly string[], options?: ProgramOptions): Running {
    const program = startProgram(name, flags, { ...options, env: this.#toFirstServer() });
    this.#programs.push(program);
    this.#sampler.watchProcess(name, program.pid);
    return program;
  }

  /** Starts a program that is none of our executables, and waits for the first line that it prints; ended with the arm. */
  async script(name: string, argv: readonly string[]): Promise<Script> {
    const script = await startScript(argv);
    this.#programs.push(script);
    this.#sampler.watchProcess(name, script.pid);
    return script;
  }

  /**
   * Stops a process (SIGSTOP) and waits until it has. kill(2) returns before that: on a busy machine the process may run once more,
   * and accept() in it still takes one connection. SIGCONT lets it go on. Throws ESRCH or ENOENT when it has ended.
   */
  async suspend(pid: number): Promise<void> {
    process.kill(pid, "SIGSTOP");
    await this.until(
      () => isStopped(pid),
      (hasStopped) => hasStopped,
    );
  }

  /** Has the network of a further host in the timeline, by a process in it. */
  watchNetwork(pid: number): void {
    this.#sampler.watchNetwork(pid);
  }

  /** Where the arm's first server listens; clients go there by default. */
  port(): number | undefined {
    return this.#servers[0]?.port;
  }

  #toFirstServer(): Readonly<Record<string, string>> {
    const port = this.port();
    return port === undefined ? {} : { PORT: `${port}` };
  }

  /** All sockets of the sandbox, now. */
  sockets(): readonly SocketRecord[] {
    return readProcNet();
  }

  /** The connections of the arm's servers, now, from both ends. */
  view(): ListenerView {
    const ports = this.#servers.map((server) => server.port);
    return procListenerView(procTexts(), new Set(ports));
  }

  /**
   * The same when no connection is in the middle of its close any more. /proc/net/tcp is no snapshot: rows that move while it
   * is read can be missed, so a count is worth something only when the table is at rest.
   */
  async settledView(deadlineMs = 5_000): Promise<ListenerView> {
    const isAtRest = ({ clients, server }: ListenerView): boolean =>
      clients.FIN_WAIT1 +
        clients.FIN_WAIT2 +
        clients.CLOSING +
        server.CLOSE_WAIT +
        server.LAST_ACK ===
      0;
    await this.until(() => this.view(), isAtRest, deadlineMs);
    return this.view();
  }

  /** Everything that can be seen of the arm at this instant. */
  sample(tMs: number): Sample {
    return this.#sampler.take(tMs);
  }

  /** A kernel counter's increase since the arm began. Throws a RangeError for a name that this kernel does not have. */
  counted(name: string): number {
    const increase = counter(readCounters(), name) - counter(this.#countersAtStart, name);
    this.#read.set(name, increase);
    return increase;
  }

  /**
   * The same, read again until it has come to `expected` or 5 s have passed: a busy kernel processes the last ACK of a handshake a
   * moment after the client knows that it is connected.
   */
  countedUpTo(name: string, expected: number): Promise<number> {
    return this.until(
      () => this.counted(name),
      (count) => count >= expected,
    );
  }

  /** Reads until the value is as wished, or the deadline has passed; returns the last reading, whatever it was. */
  async until<T>(read: () => T, isReached: (value: T) => boolean, deadlineMs = 5_000): Promise<T> {
    const endMs = performance.now() + deadlineMs;
    for (;;) {
      const value = read();
      if (isReached(value) || performance.now() > endMs) return value;
      await pauseMs(POLL_MS);
    }
  }

  /**
   * How many descriptors a program can still make under `limit`, before it has done anything. Node closes the files of the
   * modules that it loaded in the background, shortly after it began to run them: the count is taken when it has stopped moving.
   */
  async room(pid: number, limit: number): Promise<number> {
    let room = freeDescriptors(pid, limit);
    for (let unchanged = 0; unchanged < SETTLED_READINGS; unchanged += 1) {
      await pauseMs(POLL_MS / 2);
      const now = freeDescriptors(pid, limit);
      if (now !== room) unchanged = -1;
      room = now;
    }
    return room;
  }

  /** Lets time pass: only for claims about time itself. */
  async pass(durationMs: number): Promise<void> {
    await pauseMs(durationMs);
  }

  /** Skips the arm unless a condition of this machine is met. */
  need(isMet: boolean, what: string): void {
    if (!isMet) throw new SkipArm(what);
  }

  /** Throws when a prediction was never measured. */
  requireMeasured(): void {
    if (this.#open.size > 0)
      throw new Error(`predicted but not measured: ${[...this.#open].join("; ")}`);
  }

  /** Ends every program. */
  async close(): Promise<void> {
    for (const program of this.#programs) program.kill("SIGKILL");
    await Promise.allSettled(this.#programs.map(({ end }) => end));
    await Promise.allSettled(this.#servers.map((server) => server.stop()));
  }
}

export type { RunningServer, ServerSummary };
