/**
 * leave: the four ways in which one side can part from a TCP connection. Source: RFC 9293 section 3.6; close(2), shutdown(2).
 */
import type { Socket } from "node:net";

/** Way to leave to what it means. */
export const WAYS_TO_LEAVE = {
  end: "close(2): FIN, and the descriptor is given back at once",
  reset: "RST: no FIN, no TIME_WAIT; unsent data is lost",
  "half-close": "shutdown(SHUT_WR): FIN, but go on reading until the peer closes too",
  abandon: "do nothing: keep the descriptor, never close (a leak)",
} as const;

/** One of the four ways. */
export type WayToLeave = keyof typeof WAYS_TO_LEAVE;

/**
 * Leaves a connection in the given way. `half-close` needs a socket made with `allowHalfOpen`, or Node closes it by itself
 * when the peer's FIN arrives, which is then indistinguishable from `end` only on the wire's last segment.
 */
export function leave(socket: Socket, way: WayToLeave): void {
  switch (way) {
    case "end":
      // Nothing left to write: close at once. Otherwise the FIN has to follow the data.
      if (socket.writableLength === 0) socket.destroy();
      else socket.destroySoon();
      return;
    case "reset":
      socket.resetAndDestroy();
      return;
    case "half-close":
      socket.end();
      return;
    case "abandon":
      return;
  }
}
