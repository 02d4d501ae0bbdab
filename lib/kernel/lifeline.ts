/**
 * lifeline: the descriptor by which the first process of a sandbox knows that whoever started it has gone, or wants no more of it.
 *
 * The kernel kills that process when its parent dies (PR_SET_PDEATHSIG), but only once the process has asked for it: a parent that is
 * killed a moment before that leaves it behind.
 */
import { Socket } from "node:net";

/** Whoever starts such a process gives it a pipe here, and closes the pipe, if only by ending. */
export const LIFELINE = 3;

/** Calls `act` when the other end of the lifeline is closed; never when this process has none, as when it was started by hand. */
export function whenCutLoose(act: () => void): void {
  try {
    new Socket({ fd: LIFELINE })
      .on("error", () => undefined)
      .on("close", act)
      .resume()
      .unref();
  } catch {
    // Started by hand.
  }
}
