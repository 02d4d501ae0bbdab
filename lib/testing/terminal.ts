/** terminal: a terminal in which a program runs; tmux draws it, so that what is read is what a user would see. */
import { execFileSync } from "node:child_process";

/** Somebody in front of a screen of 80 columns. */
export type Terminal = {
  /** Presses keys, by their names in tmux(1): `Enter`, `C-c`. */
  readonly keys: (...keys: string[]) => void;
  readonly type: (text: string) => void;
  /** What is on the screen, without the empty end. */
  readonly screen: () => string;
  readonly isOver: () => boolean;
  readonly kill: () => void;
};

/** Starts a shell command in a terminal. `socket` is a path of its own for tmux, which removes it at the end. */
export function terminal(socket: string, command: string, rows = 24): Terminal {
  const tmux = (...args: string[]): string =>
    execFileSync("tmux", ["-S", socket, "-f", "/dev/null", ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  tmux("new-session", "-d", "-x", "80", "-y", `${rows}`, command);
  const isOver = (): boolean => {
    try {
      tmux("has-session");
      return false;
    } catch {
      return true;
    }
  };
  return {
    keys: (...keys) => {
      tmux("send-keys", ...keys);
    },
    type: (text) => {
      tmux("send-keys", "-l", text);
    },
    screen: () => tmux("capture-pane", "-p").trimEnd(),
    isOver,
    kill: () => {
      if (!isOver()) tmux("kill-server");
    },
  };
}
