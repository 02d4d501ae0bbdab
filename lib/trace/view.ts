/** view: a timeline with the questions that checks ask of it. */
import type { Analysis } from "./analysis.ts";
import type { SidedCall } from "./conversations.ts";
import type { Side } from "./states.ts";
import { errnoOf } from "./strace.ts";
import type { Row, Timeline } from "./timeline.ts";

/** A sentence that has to be true of a recording, with what was found. */
export type Check = { readonly text: string; readonly found: string; readonly held: boolean };

/** An analysis whose checks are still to be made. */
export type Unchecked = Omit<Analysis, "checks">;

type PacketRow = Row & { readonly kind: "packet" };

/** A timeline with the questions that checks ask. */
export class View {
  readonly seen: Unchecked;
  readonly timeline: Timeline;
  readonly packets: readonly PacketRow[];

  constructor(seen: Unchecked, timeline: Timeline) {
    this.seen = seen;
    this.timeline = timeline;
    this.packets = timeline.rows.filter((row) => row.kind === "packet");
  }

  packet(side: Side, ...flags: readonly string[]): PacketRow | undefined {
    return this.packets.find(
      (row) =>
        row.side === side && flags.every((flag) => row.packet.flags.some((has) => has === flag)),
    );
  }

  data(side: Side): readonly PacketRow[] {
    return this.packets.filter((row) => row.side === side && row.packet.length > 0);
  }

  calls(side: Side, name: RegExp): readonly SidedCall[] {
    return this.timeline.conversation.calls.filter(
      (call) => call.side === side && name.test(call.call.name),
    );
  }

  /** The error of any call of this side, SO_ERROR included. */
  hasError(side: Side, errno: string): boolean {
    return this.calls(side, /./).some(
      ({ call }) => errnoOf(call) === errno || call.args.includes(`[${errno}]`),
    );
  }

  lastStates(): string {
    const states = this.packets.at(-1)?.states;
    return states === undefined ? "none" : `client ${states.client}, server ${states.server}`;
  }
}

/** A check with its outcome. */
export function check(text: string, held: boolean, found: string): Check {
  return { text, held, found };
}

/** Nanoseconds as `0.122 ms`. */
export function ms(ns: bigint): string {
  return `${(Number(ns) / 1e6).toFixed(3)} ms`;
}
