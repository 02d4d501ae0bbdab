/** timeline: how the states of an arm's connections went, as one line of block characters each. */
import type { Sample } from "../lab/events.ts";
import { TCP_STATES, type TcpState } from "../sockets/record.ts";
import { count } from "./format.ts";

const BLOCKS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;
const WIDTH = 40;

/**
 * A chart of all states that changed, on both sides: a line each, scaled to its own maximum, which stands at its end. Empty
 * when nothing changed.
 */
export function timelineChart(samples: readonly Sample[]): string {
  const rows = (["clients", "server"] as const).flatMap((side) =>
    TCP_STATES.filter((state) => state !== "LISTEN").flatMap((state) =>
      chartRow(samples, side, state),
    ),
  );
  const last = samples.at(-1);
  if (rows.length === 0 || last === undefined) return "";
  const axis = `${"0".padEnd(WIDTH - 6)}${`${(last.tMs / 1_000).toFixed(1)} s`.padStart(6)}`;
  return [...rows, `    ${" ".repeat(LABEL)}${axis}`].join("\n");
}

const LABEL = "clients ESTABLISHED ".length;

function chartRow(
  samples: readonly Sample[],
  side: "clients" | "server",
  state: TcpState,
): readonly string[] {
  const values = samples.map((sample) => sample[side][state]);
  const max = Math.max(0, ...values);
  if (values.every((value) => value === values[0])) return [];
  return [`    ${`${side} ${state}`.padEnd(LABEL)}${sparkline(values, max)} ${count(max)}`];
}

/** The values spread over `WIDTH` columns; a blank is zero. */
function sparkline(values: readonly number[], max: number): string {
  return Array.from({ length: WIDTH }, (_, column) => {
    const value = values[Math.round((column * (values.length - 1)) / (WIDTH - 1))] ?? 0;
    if (value === 0) return " ";
    return (
      BLOCKS[Math.min(BLOCKS.length - 1, Math.floor((value * BLOCKS.length) / (max + 1)))] ?? " "
    );
  }).join("");
}
