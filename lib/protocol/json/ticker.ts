/** ticker: one timer for everything that has a deadline, instead of one for each. It runs only while somebody wants it. */

/** Deadlines are kept to this. */
const TICK_MS = 20;

const wanted = new Set<(nowMs: number) => void>();
let timer: NodeJS.Timeout | undefined;

/**
 * Calls `look` every TICK_MS until the returned function is called; after a pause of our own, as with deadline(), what has arrived
 * meanwhile is read before. Keeps no process alive.
 */
export function everyTick(look: (nowMs: number) => void): () => void {
  wanted.add(look);
  timer ??= setInterval(() => setImmediate(lookAtAll), TICK_MS).unref();
  return () => {
    wanted.delete(look);
    if (wanted.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

function lookAtAll(): void {
  const now = performance.now();
  for (const one of wanted) one(now);
}
