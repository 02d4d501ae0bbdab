/** listen-trouble: what next, when a server cannot listen. */
import { readNumericSysctl } from "../kernel/sysctl.ts";

/** Says of an error of listen() what next, too, such as which flag takes another port; any other comes back as it is. */
export function listenTrouble(
  error: NodeJS.ErrnoException,
  port: number,
  flag = "--port N, or PORT=N",
): Error {
  if (error.code === "EADDRINUSE")
    error.message += `\n  Who listens there: ss -tlnp 'sport = :${port}'. Or take another port: ${flag}`;
  if (error.code === "EADDRNOTAVAIL")
    error.message +=
      "\n  No interface here has that address: ip address shows those that have one. Or take another: --host, or HOST";
  if (error.code === "EACCES")
    error.message += `\n  Ports below ${readNumericSysctl("net.ipv4.ip_unprivileged_port_start", 1_024)} take root (CAP_NET_BIND_SERVICE). Or take another port: ${flag}`;
  return error;
}
