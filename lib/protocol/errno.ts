/** errno: what went wrong with a connection, by the names of errno(3). */

/** A failed system call. */
export type Failure = {
  readonly errno: string;
  readonly syscall: string;
  readonly message: string;
};

/** Reads Node's error into plain data. An AggregateError (several addresses tried) counts as its first. */
export function failureOf(error: Error): Failure {
  const first =
    error instanceof AggregateError ? ((error.errors[0] as Error | undefined) ?? error) : error;
  const { code, syscall, message } = first as NodeJS.ErrnoException;
  return { errno: code ?? first.name, syscall: syscall ?? "", message };
}

/** Failures counted by errno, the first of each quoted in full. */
export type FailureCounts = Record<string, { count: number; readonly first: string }>;

/** Counts one more failure. */
export function countFailure(counts: FailureCounts, failure: Failure): void {
  const entry = counts[failure.errno];
  if (entry === undefined) counts[failure.errno] = { count: 1, first: failure.message };
  else entry.count += 1;
}
