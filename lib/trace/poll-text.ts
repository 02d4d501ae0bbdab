/**
 * poll-text: what poll() and select() say in brackets behind their result: `1 ([{fd=3<...>, revents=POLLIN}])`, `1 (in [3<...>], out [4])`.
 */
import { splitArguments } from "./strace.ts";

/** What has happened to a descriptor. */
export type Happening = { readonly fd: number; readonly events: string };

/** Reads the result of such a call, as strace prints it; none when there is nothing in brackets. */
export function happeningsIn(result: string): readonly Happening[] {
  const open = result.indexOf("(");
  if (open === -1 || !result.endsWith(")")) return [];
  return splitArguments(result.slice(open + 1, -1)).flatMap((part) =>
    part.startsWith("[") ? polled(part.slice(1, -1)) : selected(part),
  );
}

function polled(list: string): readonly Happening[] {
  return splitArguments(list).flatMap((entry) => {
    const fd = /^\{fd=(\d+)/.exec(entry)?.[1];
    const events = /revents=([A-Z|]+)/.exec(entry)?.[1];
    return fd === undefined || events === undefined ? [] : [{ fd: Number(fd), events }];
  });
}

/** What is left of the time stands there, too. */
function selected(set: string): readonly Happening[] {
  const events = /^(in|out|except) \[/.exec(set)?.[1];
  if (events === undefined) return [];
  const names = set.slice(set.indexOf("[") + 1, -1).split(" ");
  return names.map((name) => ({ fd: parseInt(name), events }));
}
