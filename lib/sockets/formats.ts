/** formats: every format that can be read. Recognition, the refusal message, `--format` and the reference use this list. */
import { lsof } from "./lsof.ts";
import { lsofFields } from "./lsof-fields.ts";
import { netstatBsd } from "./netstat-bsd.ts";
import { netstatLinux } from "./netstat-linux.ts";
import { netstatSolaris } from "./netstat-solaris.ts";
import { netstatWindows } from "./netstat-windows.ts";
import { procNet } from "./proc-net.ts";
import type { Format } from "./reader.ts";
import { sockstat } from "./sockstat.ts";
import { ss } from "./ss.ts";
import { tally } from "./tally.ts";

/** In the order in which a line is shown to them. */
export const FORMATS: readonly Format[] = [
  ss,
  procNet,
  netstatLinux,
  netstatBsd,
  netstatSolaris,
  netstatWindows,
  lsof,
  lsofFields,
  sockstat,
  tally,
];

/** The formats that a name stands for: `auto` all, `netstat` every netstat, `ss` one. Undefined for no known name. */
export function formatsNamed(name: string): readonly Format[] | undefined {
  const chosen = FORMATS.filter(
    (format) => name === "auto" || format.name === name || format.tool === name,
  );
  return chosen.length > 0 ? chosen : undefined;
}
