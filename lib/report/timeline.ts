/** timeline: how the states of an arm's connections went, as one line of block characters each. */
import type { Sample } from "../lab/events.ts";
import { TCP_STATES, type TcpState } from "../sockets/record.ts";
import { bytes, count } from "./format.ts";

const BLOCKS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;
const WIDTH = 40;

/**
 * A chart of all states that changed, on both sides, and of descriptors and memory that grew: a line each, scaled to its own
 * maximum, which stands at its end. Empty when nothing changed.
 */
export function timelineChart(samples: readonly Sample[]): string {
  const states = (["clients", "server"] as const).flatMap((side) =>
    TCP_STATES.filter((state) => state !== "LISTEN").flatMap((state) =>
      stateRow(samples, side, state),
    ),
  );
  const names = new Set(samples.flatMap(({ processes }) => processes.map(({ name }) => name)));
  const rows = [...states, ...[...names].flatMap((name) => processRows(samples, name))];
  const last = samples.at(-1);
  if (rows.length === 0 || last === undefined) return "";
  const axis = `${"0".padEnd(WIDTH - 6)}${`${(last.tMs / 1_000).toFixed(1)} s`.padStart(6)}`;
  return [...rows, `    ${" ".repeat(LABEL)}${axis}`].join("\n");
}

const LABEL = "multiplex descriptors ".length;

function stateRow(
  samples: readonly Sample[],
  side: "clients" | "server",
  state: TcpState,
): readonly string[] {
  const values = samples.map((sample) => sample[side][state]);
  return values.every((value) => value === values[0])
    ? []
    : [chartRow(`${side} ${state}`, values, count)];
}

function chartRow(label: string, values: readonly number[], text: (max: number) => string): string {
  const max = Math.max(0, ...values);
  return `    ${label.padEnd(LABEL)}${sparkline(values, max)} ${text(max)}`;
}

/** What a Node program has at most while it does nothing, and what it takes to be worth a row. */
const AT_REST = { descriptors: 20, rssBytes: 64 * 1_048_576 };
const MUCH = { descriptors: 16, rssBytes: 16 * 1_048_576 };

/** Descriptors and memory of a process, or of the largest of that name, where they grew. */
function processRows(samples: readonly Sample[], name: string): readonly string[] {
  const row = (of: "descriptors" | "rssBytes", label: string): readonly string[] => {
    const values = samples.map(({ processes }) =>
      Math.max(0, ...processes.filter((one) => one.name === name).map((one) => one[of])),
    );
    // Before it has started, and after its end, it has none.
    const least = Math.min(...values.filter((value) => value > 0));
    const grewBy = Math.max(...values) - Math.max(least, AT_REST[of]);
    return grewBy > MUCH[of] ? [chartRow(label, values, of === "rssBytes" ? bytes : count)] : [];
  };
  return [...row("descriptors", `${name} descriptors`), ...row("rssBytes", `${name} memory`)];
}

/** The values spread over `WIDTH` columns, each as high as the largest of its values; a blank is zero. */
function sparkline(values: readonly number[], max: number): string {
  const begin = (column: number): number => Math.floor((column * values.length) / WIDTH);
  return Array.from({ length: WIDTH }, (_, column) => {
    const own = values.slice(begin(column), Math.max(begin(column) + 1, begin(column + 1)));
    return BLOCKS[Math.ceil((Math.max(...own) * BLOCKS.length) / max) - 1] ?? " ";
  }).join("");
}
