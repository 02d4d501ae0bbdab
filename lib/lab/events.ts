/** events: what an arm tells the runner while it runs, as lines of JSON. */
import type { StateCounts } from "../sockets/record.ts";
import type { Claim } from "./claim.ts";

/** One of the arm's programs at one instant. */
export type ProcessSample = {
  readonly name: string;
  readonly pid: number;
  readonly descriptors: number;
  readonly rssBytes: number;
};

/** The arm at one instant: the connections of its servers from both ends, its programs, and the counters that have moved. */
export type Sample = {
  /** Milliseconds since the arm began. */
  readonly tMs: number;
  readonly clients: StateCounts;
  readonly server: StateCounts;
  readonly processes: readonly ProcessSample[];
  /** TCP counters of the kernel: increase since the arm began. */
  readonly counters: Readonly<Record<string, number>>;
};

/** One line. */
export type ArmEvent =
  /** The sandbox stands; `netns` is its identity. */
  | { readonly event: "ready"; readonly netns: string }
  /** What is about to happen, for people. */
  | { readonly event: "say"; readonly text: string }
  | {
      readonly event: "predicted";
      readonly text: string;
      readonly predicted: number | string;
      readonly because?: string;
    }
  | { readonly event: "sample"; readonly sample: Sample }
  | { readonly event: "claim"; readonly claim: Claim }
  /** A part that cannot be shown here, and why; the rest goes on. */
  | { readonly event: "note"; readonly text: string }
  /** The whole arm cannot be shown here. */
  | { readonly event: "skipped"; readonly reason: string }
  | { readonly event: "failed"; readonly reason: string };
