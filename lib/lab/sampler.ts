/**
 * sampler: what can be seen of an arm from outside its claims: its sockets from both ends, its processes, its counters.
 *
 * A sandbox has no strangers, so all sockets of its networks belong to the arm, whoever made them: behind a port on which
 * somebody listens, or has listened, is the server's side, everything else is the clients'. With `--here` only the connections of
 * the arm's own servers count.
 */
import { counterDelta, readCounters, type Counters } from "../kernel/counters.ts";
import { openDescriptors, processStatus } from "../kernel/process.ts";
import { procTexts } from "../sockets/capture.ts";
import { procListenerView, procListeningPorts } from "../sockets/listener.ts";
import type { ProcessSample, Sample } from "./events.ts";

/** Watches one arm. */
export class Sampler {
  readonly #isPrivate: boolean;
  readonly #before = readCounters();
  readonly #ports = new Set<number>();
  /** Processes in whose networks to look: this one, and one in each further host. */
  readonly #networks: number[] = [process.pid];
  readonly #processes: { readonly name: string; readonly pid: number }[] = [
    { name: "arm", pid: process.pid },
  ];

  constructor(isPrivate: boolean) {
    this.#isPrivate = isPrivate;
  }

  /** A server of the arm. */
  watchPort(port: number): void {
    this.#ports.add(port);
  }

  /** A process whose descriptors and memory are looked at, by the name that charts give it. */
  watchProcess(name: string, pid: number): void {
    this.#processes.push({ name, pid });
  }

  /** A host of the arm, by a process in it. Its counters began at 0. */
  watchNetwork(pid: number): void {
    this.#networks.push(pid);
  }

  /** Everything that can be seen at this instant. */
  take(tMs: number): Sample {
    const texts = this.#networks.flatMap((pid) => unlessGone(() => procTexts({ pid })));
    if (this.#isPrivate) for (const port of procListeningPorts(texts)) this.#ports.add(port);
    const others = this.#isPrivate ? "clients" : "apart";
    const { clients, server } = procListenerView(texts, this.#ports, others);
    return { tMs, clients, server, processes: this.#look(), counters: this.#tcpCounters() };
  }

  #look(): readonly ProcessSample[] {
    return this.#processes.flatMap(({ name, pid }) =>
      unlessGone(() => {
        const { rssBytes } = processStatus(pid);
        return [{ name, pid, descriptors: openDescriptors(pid), rssBytes }];
      }),
    );
  }

  #tcpCounters(): Counters {
    const sums: Record<string, number> = {};
    for (const pid of this.#networks)
      for (const [name, value] of Object.entries(this.#moved(pid)))
        if (name.startsWith("Tcp")) sums[name] = (sums[name] ?? 0) + value;
    return sums;
  }

  #moved(pid: number): Counters {
    const before = pid === process.pid ? this.#before : {};
    return unlessGone(() => [counterDelta(before, readCounters(pid))])[0] ?? {};
  }
}

/** Nothing for a process that has ended. */
function unlessGone<T>(look: () => T[]): T[] {
  try {
    return look();
  } catch {
    return [];
  }
}
