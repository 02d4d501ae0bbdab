/** search: finds a place in what is in the order of time, without looking at all of it. */

/** The first index from which on it holds, by halves: it must not hold before. The length when it holds nowhere. */
export function firstWhere<T>(sorted: readonly T[], holds: (one: T) => boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(sorted[middle] as T)) high = middle;
    else low = middle + 1;
  }
  return low;
}
