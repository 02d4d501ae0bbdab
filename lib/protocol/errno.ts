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
  // A socket that was refused, as with EMFILE, has no address of its own to tell.
  const told = message.replace(" - Local (undefined:undefined)", "");
  return { errno: code ?? first.name, syscall: syscall ?? "", message: told };
}

/** Failures counted by errno, the first of each quoted in full; and by system call, for a time-out of connect(2) is not one of read(2). */
export type FailureCounts = Record<
  string,
  { count: number; readonly first: string; readonly syscalls: Record<string, number> }
>;

/** Counts one more failure. */
export function countFailure(counts: FailureCounts, { errno, syscall, message }: Failure): void {
  const entry = (counts[errno] ??= { count: 0, first: message, syscalls: {} });
  entry.count += 1;
  if (syscall !== "") entry.syscalls[syscall] = (entry.syscalls[syscall] ?? 0) + 1;
}

/** Adds what one more process has counted. */
export function addFailures(counts: FailureCounts, more: FailureCounts): void {
  for (const [errno, { count, first, syscalls }] of Object.entries(more)) {
    const entry = (counts[errno] ??= { count: 0, first, syscalls: {} });
    entry.count += count;
    for (const [syscall, times] of Object.entries(syscalls))
      entry.syscalls[syscall] = (entry.syscalls[syscall] ?? 0) + times;
  }
}
