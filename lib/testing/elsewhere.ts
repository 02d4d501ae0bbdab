/** elsewhere: a network that is no sandbox of ours, with addresses that are not loopback and lead nowhere. */

/** Nobody listens there: each connect() is refused at once. */
export const REFUSED = "10.23.0.1";

/** Nobody is there: no SYN is answered. */
export const SILENT = "10.23.0.2";

/** Words before a command that is to run there; its pid stays, so that signals reach it. */
export const ELSEWHERE: readonly string[] = [
  ...["unshare", "--user", "--map-root-user", "--net", "sh", "-c"],
  `ip link set lo up && ip addr add ${REFUSED}/32 dev lo && ip route add ${SILENT}/32 dev lo && exec "$@"`,
  "sh",
];
