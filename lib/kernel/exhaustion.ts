/**
 * exhaustion: how many connections one client can open and close before its ports run out. Computed beforehand.
 */
import { TIME_WAIT_MS, type PortRange, type ReuseMode, type TimeWaitReuse } from "./ports.ts";

/** What the prediction rests on. */
export type ExhaustionInput = {
  /** Where connect() may choose from: `ephemeralPorts()`. */
  readonly range: PortRange;
  /** For each destination the local ports that cannot be used for it: connected or in TIME_WAIT to it, or bound by a listener. */
  readonly taken: readonly ReadonlySet<number>[];
  /** The same without those in TIME_WAIT, which come back by themselves. */
  readonly lasting: readonly ReadonlySet<number>[];
  /** Who closes first. Only who closes first with a FIN keeps a TIME_WAIT. */
  readonly closer: "client" | "server" | "reset";
  /** Does the program bind each connection to a port of its choice, so that connect() has none to search? */
  readonly namesPorts: boolean;
  /** When a port comes back: `timeWaitReuse()` of the destination. */
  readonly reuse: TimeWaitReuse;
};

/** What will happen. */
export type Exhaustion =
  /**
   * The ports last for `capacity` connections; then EADDRNOTAVAIL, until the first TIME_WAIT has ended. `waiting` more are in TIME_WAIT
   * already, and count for what can be sustained. Up to `missable` of the `capacity` may not be found: of a range with an odd number
   * of ports connect() searches one less at a time (`remaining &= ~1U` in __inet_hash_connect(), net/ipv4/inet_hashtables.c).
   */
  | {
      readonly kind: "certain";
      readonly capacity: number;
      readonly waiting: number;
      readonly missable: number;
      readonly sustainablePerSecond: number;
    }
  /** Ports come back after `delayMs`: EADDRNOTAVAIL only when more than `perSecond` connections are closed per second. */
  | {
      readonly kind: "above-rate";
      readonly capacity: number;
      readonly delayMs: number;
      /** tcp_tw_reuse, which gives them back. */
      readonly mode: ReuseMode;
      readonly perSecond: number;
    }
  /** No TIME_WAIT stays on our side: ports can be used again at once. */
  | {
      readonly kind: "never";
      readonly capacity: number;
      readonly reason: "server closes first" | "closed by RST";
    };

/** Predicts from the port range, from what is taken already and from tcp_tw_reuse. */
export function predictExhaustion(input: ExhaustionInput): Exhaustion {
  const capacity = freePorts(input.range, input.taken);
  if (input.closer === "server") return { kind: "never", capacity, reason: "server closes first" };
  if (input.closer === "reset") return { kind: "never", capacity, reason: "closed by RST" };
  const { reuse } = input;
  if (reuse.kind === "never") {
    const usable = freePorts(input.range, input.lasting);
    return {
      kind: "certain",
      capacity,
      waiting: usable - capacity,
      missable: missable(input),
      sustainablePerSecond: (usable * 1_000) / TIME_WAIT_MS,
    };
  }
  return {
    kind: "above-rate",
    capacity,
    delayMs: reuse.delayMs,
    mode: reuse.mode,
    perSecond: (capacity * 1_000) / reuse.delayMs,
  };
}

/** For each destination those of the range that are not taken, summed up. */
function freePorts({ ports }: PortRange, takenByEach: readonly ReadonlySet<number>[]): number {
  return takenByEach.reduce(
    (sum, taken) => sum + ports.filter((port) => !taken.has(port)).length,
    0,
  );
}

/** One for each destination, unless the program names its ports itself. */
function missable({ range, taken, namesPorts }: ExhaustionInput): number {
  const isOdd = (range.high - range.low) % 2 === 0;
  return isOdd && !namesPorts ? taken.length : 0;
}
