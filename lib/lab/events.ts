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

/** A parameter of a network that an arm has set: as sysctl(8) prints it, with blanks for tabs, or `mtu of` an interface. */
export type Setting = {
  /** Whose network, where the arm has several hosts and it is not its own. */
  readonly host?: string;
  readonly name: string;
  readonly before: string;
  /** Read back from the kernel. */
  readonly value: string;
};

/** Rules of a packet filter that an arm has set, in the words of nft(8): they take the place of those at this hook. */
export type Rules = {
  readonly host?: string;
  /** `input`, `forward`, `postrouting` ... */
  readonly hook: string;
  /** None: the rules are gone. */
  readonly lines: readonly string[];
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
  | { readonly event: "set"; readonly setting: Setting }
  | { readonly event: "rules"; readonly rules: Rules }
  | { readonly event: "sample"; readonly sample: Sample }
  | { readonly event: "claim"; readonly claim: Claim }
  /** A part that cannot be shown here, and why; the rest goes on. */
  | { readonly event: "note"; readonly text: string }
  /** It came to its end, and has measured all that it predicted. */
  | { readonly event: "end" }
  /** The whole arm cannot be shown here. */
  | { readonly event: "skipped"; readonly reason: string }
  | { readonly event: "failed"; readonly reason: string };
