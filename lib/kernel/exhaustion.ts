/**
 * exhaustion: how many connections one client can open and close before its ports run out. Computed beforehand.
 */
import { TIME_WAIT_MS, type TimeWaitReuse } from "./ports.ts";

/** What the prediction rests on. */
export type ExhaustionInput = {
  /** Ports that connect() may choose from: `ephemeralPorts().ports`. */
  readonly ports: readonly number[];
  /** For each destination the local ports that cannot be used for it: connected or in TIME_WAIT to it, or bound by a listener. */
  readonly taken: readonly ReadonlySet<number>[];
  /** Who closes first. Only who closes first with a FIN keeps a TIME_WAIT. */
  readonly closer: "client" | "server" | "reset";
  /** When a port comes back: `timeWaitReuse()` of the destination. */
  readonly reuse: TimeWaitReuse;
};

/** What will happen. */
export type Exhaustion =
  /** The ports last for `capacity` connections; then EADDRNOTAVAIL, until the first TIME_WAIT has ended. */
  | { readonly kind: "certain"; readonly capacity: number; readonly sustainablePerSecond: number }
  /** Ports come back after `delayMs`: EADDRNOTAVAIL only when more than `perSecond` connections are closed per second. */
  | {
      readonly kind: "above-rate";
      readonly capacity: number;
      readonly delayMs: number;
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
  const free = (taken: ReadonlySet<number>): number =>
    input.ports.filter((port) => !taken.has(port)).length;
  const capacity = input.taken.reduce((sum, taken) => sum + free(taken), 0);
  if (input.closer === "server") return { kind: "never", capacity, reason: "server closes first" };
  if (input.closer === "reset") return { kind: "never", capacity, reason: "closed by RST" };
  const { reuse } = input;
  if (reuse.kind === "never")
    return { kind: "certain", capacity, sustainablePerSecond: (capacity * 1_000) / TIME_WAIT_MS };
  return {
    kind: "above-rate",
    capacity,
    delayMs: reuse.delayMs,
    perSecond: (capacity * 1_000) / reuse.delayMs,
  };
}
