/** deadline: when to lose patience with a peer: not before what it has sent has been read. */

import { MAX_TIMER_MS } from "./pause-until.ts";

/**
 * Calls `late` after so long, unless the returned function is called before. After a pause of our own, be the process stopped or its
 * event loop busy, timers run first: then what has arrived meanwhile, perhaps in time, is still read before anybody is blamed.
 */
export function deadline(afterMs: number, late: () => void): () => void {
  let turn: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => (turn = setImmediate(late)), Math.min(afterMs, MAX_TIMER_MS));
  return () => {
    clearTimeout(timer);
    clearImmediate(turn);
  };
}

/** Calls `silent` once, as `deadline()` does, when nothing has been heard for so long, unless the returned function is called before. */
export function onSilence(
  afterMs: number,
  lastHeardMs: () => number,
  silent: () => void,
): () => void {
  let stop = (): void => undefined;
  const wait = (): void => {
    const heardMs = lastHeardMs();
    const restMs = Math.max(0, heardMs + afterMs - performance.now());
    stop = deadline(restMs, () => (lastHeardMs() === heardMs ? silent() : wait()));
  };
  wait();
  return () => stop();
}
