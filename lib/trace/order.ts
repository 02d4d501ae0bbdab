/** order: what the stage is told to record, and what it gives back. Both travel as JSON between two processes. */
import type { Rung } from "../kernel/sandbox.ts";
import type { Sample } from "./samples.ts";
import type { ScenarioName } from "./scenarios.ts";

/** What to record. */
export type Order = { readonly rung: Rung } & (
  | {
      readonly kind: "scenario";
      readonly name: ScenarioName;
      readonly connections: number;
      /** Go on until the last TIME_WAIT has ended: 60 s. */
      readonly wait: boolean;
    }
  /** Many connections, one after the other, with nobody watching but tcpdump: what the programs note is their output. */
  | { readonly kind: "latency"; readonly connections: number }
  | { readonly kind: "command"; readonly argv: readonly string[] }
  | { readonly kind: "attach"; readonly pid: number; readonly forMs: number }
);

/** A program that was traced. */
export type Traced = {
  readonly role: "server" | "client" | "command" | "process";
  /** Its command line, as a user would type it. */
  readonly command: string;
  /** What strace wrote. */
  readonly strace: string;
  /** What it printed itself; "" when that went to the terminal. */
  readonly output: string;
  /** As a shell has it: 128 + n when signal n has ended it. */
  readonly exitCode: number;
};

/** All that was recorded. */
export type Recording = {
  readonly traced: readonly Traced[];
  /** The capture file, base64; undefined when packets could not be captured. */
  readonly pcap: string | undefined;
  /** The same as text of tcpdump. */
  readonly tcpdump: string;
  /** Packets from here on, nanoseconds since 1970, belong to a second run without strace. */
  readonly bareFromNs: string | undefined;
  readonly samples: readonly Sample[];
  /** What could not be done, and why. */
  readonly notes: readonly string[];
};

/** What the stage prints at its end; `signal` is what has ended it instead. */
export type StageAnswer =
  | { readonly recording: Recording }
  | { readonly failed: string; readonly isNeed: boolean; readonly signal?: string };
