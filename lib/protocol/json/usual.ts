/** usual: what holds where nothing else was asked for. */

/** The usual values with those that are given in their place. `undefined` is nothing given; what is none of the usual ones is left out. */
export function usualUnless<T extends object>(
  usual: T,
  given: { readonly [K in keyof T]?: T[K] | undefined },
): T {
  const all = { ...usual };
  for (const name of Object.keys(usual) as (keyof T)[]) {
    const value = given[name];
    if (value !== undefined) all[name] = value;
  }
  return all;
}
