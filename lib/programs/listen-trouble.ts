/** listen-trouble: what next, when a server cannot listen. */

/** Says of an error of listen() what next, too; any other comes back as it is. */
export function listenTrouble(error: NodeJS.ErrnoException, port: number): Error {
  if (error.code === "EADDRINUSE")
    error.message += `\n  Who listens there: ss -tlnp 'sport = :${port}'. Or take another port: --port N, or PORT=N`;
  if (error.code === "EADDRNOTAVAIL")
    error.message +=
      "\n  No interface here has that address: ip address shows those that have one. Or take another: --host, or HOST";
  return error;
}
