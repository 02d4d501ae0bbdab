/** resets: how many TIME_WAITs may be missing. */
import { counter, readCounters } from "../kernel/counters.ts";

/**
 * The RSTs sent in this network namespace from now on. Each may have ended a TIME_WAIT early (RFC 1337): the server's delayed ACK of our FIN
 * is made on one processor, its own FIN overtakes it on another (their IP ids tell the order), TIME_WAIT answers the old ACK, and
 * the server's kernel, which has closed by then, sends a RST. That happens to two to four connections in a thousand.
 */
export function resetsFromNow(): () => number {
  const read = (): number => counter(readCounters(), "TcpOutRsts");
  const before = read();
  return () => read() - before;
}
