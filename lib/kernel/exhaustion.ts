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
  /** How many TIME_WAITs the kernel keeps at a time, here and at a server of this network together: tcp_max_tw_buckets. */
  readonly maxTimeWaits: number;
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
  /** The kernel keeps fewer TIME_WAITs than there are ports: who closes beyond them has the port back at once. */
  | { readonly kind: "capped"; readonly capacity: number; readonly maxTimeWaits: number }
  /** No TIME_WAIT stays on our side: ports can be used again at once, all but `waiting` that are in TIME_WAIT already. */
  | {
      readonly kind: "never";
      readonly capacity: number;
      readonly waiting: number;
      readonly reason: "server closes first" | "closed by RST";
    };

/** Predicts from the port range, from what is taken already, from tcp_tw_reuse and from tcp_max_tw_buckets. */
export function predictExhaustion(input: ExhaustionInput): Exhaustion {
  const { closer, reuse, maxTimeWaits } = input;
  const capacity = freePorts(input.range, input.taken);
  const usable = freePorts(input.range, input.lasting);
  const waiting = usable - capacity;
  if (closer === "server")
    return { kind: "never", capacity, waiting, reason: "server closes first" };
  if (closer === "reset") return { kind: "never", capacity, waiting, reason: "closed by RST" };
  if (reuse.kind === "never") {
    if (capacity > 0 && maxTimeWaits < usable) return { kind: "capped", capacity, maxTimeWaits };
    return {
      kind: "certain",
      capacity,
      waiting,
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
