/** trace-table: one conversation as rows of time, client, wire, server and states; and what was checked of it. */
import type { Analysis } from "../trace/analysis.ts";
import type { Conversation } from "../trace/conversations.ts";
import type { PacketFacts, Row, Timeline } from "../trace/timeline.ts";
import type { SampleRow } from "../trace/samples.ts";
import type { States } from "../trace/states.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { count, ms, wrapped } from "./format.ts";
import type { ChalkInstance } from "chalk";

type Widths = {
  readonly time: number;
  readonly call: number;
  readonly wire: number;
  /** 0: the states stand on a line of their own below the packet. */
  readonly state: number;
};

const GAP = 1;
const TIME_WIDTH = 9;
const STATE_WIDTH = "ESTABLISHED".length;
/** From this width on the states have columns of their own. */
const WIDE = 100;
const MAX_WIDTH = 124;

function widthsFor(columns: number): Widths {
  const all = Math.max(72, Math.min(columns, MAX_WIDTH));
  const state = all >= WIDE ? STATE_WIDTH : 0;
  const rest = all - TIME_WIDTH - (state > 0 ? 2 * (state + GAP) : 0) - 3 * GAP;
  const wire = Math.max(26, Math.floor(rest * 0.34));
  return { time: TIME_WIDTH, call: Math.floor((rest - wire) / 2), wire, state };
}

/** The timeline as a table, `columns` wide: at least 72, at most 124. */
function traceTable(timeline: Timeline, columns: number, paint: ChalkInstance): string {
  const widths = widthsFor(columns);
  const { rows, zeroNs } = timeline;
  const titles = ["ms", "client", "on the wire", "server", "client is", "server is"];
  const heading = line(titles, widths);
  let before: States | undefined;
  const body = rows.flatMap((row) => {
    const states = row.kind === "call" ? undefined : row.states;
    const shown = states !== undefined && isOther(states, before) ? states : undefined;
    before = states ?? before;
    return rowLines(row, zeroNs, shown, widths);
  });
  return [paint.bold(heading.trimEnd()), ...body.map((text) => text.trimEnd())].join("\n");
}

function isOther(states: States, before: States | undefined): boolean {
  return states.client !== before?.client || states.server !== before.server;
}

function rowLines(
  row: Row,
  zeroNs: bigint,
  states: States | undefined,
  widths: Widths,
): readonly string[] {
  const time = (Number(row.atNs - zeroNs) / 1e6).toFixed(3).padStart(widths.time - 1);
  const text = rowText(row);
  const cells = {
    client: row.kind === "call" && row.side === "client" ? folded(text, widths.call) : [],
    wire: row.kind === "call" ? [] : folded(text, widths.wire),
    server: row.kind === "call" && row.side === "server" ? folded(text, widths.call) : [],
  };
  const height = Math.max(cells.client.length, cells.wire.length, cells.server.length);
  const lines = Array.from({ length: height }, (_, index) =>
    line(
      [
        index === 0 ? time : "",
        cells.client[index] ?? "",
        cells.wire[index] ?? "",
        cells.server[index] ?? "",
        ...(index === 0 && states !== undefined ? [states.client, states.server] : []),
      ],
      widths,
    ),
  );
  if (states === undefined || widths.state > 0) return lines;
  return [
    ...lines,
    `${" ".repeat(widths.time + GAP)}client ${states.client}, server ${states.server}`,
  ];
}

function rowText(row: Row): string {
  if (row.kind === "call") return callText(row);
  return row.kind === "packet" ? packetText(row.packet, row.side) : "(a timer ran out)";
}

function line(cells: readonly string[], { time, call, wire, state }: Widths): string {
  const widths = [time, call, wire, call, ...(state > 0 ? [state, state] : [])];
  return widths.map((width, index) => (cells[index] ?? "").padEnd(width)).join(" ".repeat(GAP));
}

/** Breaks at blanks; what goes on is indented by two. */
function folded(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let open = "";
  for (const word of text.split(" ")) {
    if (open !== "" && open.length + 1 + word.length > width) {
      lines.push(open);
      open = `  ${word}`;
    } else open = open === "" ? word : `${open} ${word}`;
  }
  return [...lines, open].flatMap((part) => cut(part, width));
}

/** A word that is longer than its column is broken. */
function cut(text: string, width: number): readonly string[] {
  const parts = Math.ceil(text.length / width);
  return Array.from({ length: parts }, (_, index) =>
    text.slice(index * width, (index + 1) * width),
  );
}

/** `read(19, 65536) = 10`, `... accept4(3) = 4 after 512 ms`. */
export function callText(row: Row & { readonly kind: "call" }): string {
  const { facts, phase, tookNs, isWakeUp } = row;
  if (phase === "begin") return `${facts.text.replace(/ = [^=]*$/, "")} ...`;
  const tookMs = Number(tookNs ?? 0n) / 1e6;
  const after = (isWakeUp || phase === "end") && tookMs >= 1 ? ` after ${ms(tookMs)}` : "";
  return `${phase === "end" ? "... " : ""}${facts.text}${after}`;
}

/** `-> SYN ACK seq 0 ack 1 len 0`: the arrow shows from whom to whom, client on the left. */
export function packetText(packet: PacketFacts, side: "client" | "server"): string {
  const { flags, seq, ack, length, note } = packet;
  const words = [
    ...flags.filter((flag) => flag !== "ACK" || flags.length === 1 || flags.includes("SYN")),
    ...(seq === undefined ? [] : [`seq ${seq}`]),
    ...(ack === undefined ? [] : [`ack ${ack}`]),
    ...(length > 0 ? [`len ${length}`] : []),
    ...(note === undefined ? [] : [`(${note})`]),
  ];
  return `${side === "client" ? "->" : "<-"} ${words.join(" ")}`;
}

/** `127.0.0.1:40000 and 127.0.0.1:4000, tcp`. */
function endsText({ client, server, protocol }: Conversation): string {
  return `client ${endpointText(client)}, server ${endpointText(server)}, ${protocol}`;
}

/** Heading, table, checks, and what watching costs. */
export function traceReport(analysis: Analysis, columns: number, paint: ChalkInstance): string {
  const { timeline, conversations, recording } = analysis;
  const programs = recording.traced.map(({ role, command }) => `${role}: ${command}`);
  if (timeline === undefined)
    return [...programs, ...recording.notes, "Nothing was seen on a socket of TCP or UDP."].join(
      "\n",
    );
  const others = conversations.length - 1;
  return [
    ...programs,
    `shown: ${endsText(timeline.conversation)}${others > 0 ? ` (${others} more)` : ""}`,
    "",
    traceTable(timeline, columns, paint),
    "",
    ...legend(analysis),
    ...recording.notes.map((note) => wrapped(note)),
    "",
    checkLines(analysis, paint),
  ].join("\n");
}

function legend(analysis: Analysis): readonly string[] {
  const { cost, timeline } = analysis;
  const hasPackets = (timeline?.conversation.packets.length ?? 0) > 0;
  const timeWait =
    timeline === undefined ? undefined : timeWaitRow(analysis, timeline.conversation);
  return [
    wrapped(
      `Time 0 is the first ${hasPackets ? "packet" : "call"}. A call stands where it began, a wake-up where it returned. seq and ack count from the SYN of their side; every segment after the SYN carries ACK.`,
    ),
    ...(cost === undefined
      ? []
      : [
          wrapped(
            `Watching costs time: from the first packet to the last ${ms(cost.tracedMs)} here, ${ms(cost.bareMs)} without strace.`,
          ),
        ]),
    ...(timeWait === undefined ? [] : [wrapped(timeWait)]),
  ];
}

/** What the socket table said last of a side that has left. */
function timeWaitRow(
  { recording }: Analysis,
  { client, server }: Conversation,
): string | undefined {
  const ends = [client, server].map(({ address, port }) => `${address}:${port}`);
  const isOurs = (row: SampleRow): boolean =>
    row.state === "TIME_WAIT" && ends.includes(row.local) && ends.includes(row.remote);
  const row = recording.samples.at(-1)?.rows.find(isOurs);
  if (row?.timer === undefined) return undefined;
  return `The socket table at the end: TIME_WAIT ${row.local}, ${(row.timer.remainingMs / 1_000).toFixed(1)} s to go (--wait stays for its end).`;
}

function checkLines({ checks }: Analysis, paint: ChalkInstance): string {
  return checks
    .map(({ text, found, held }) => {
      const mark = held ? paint.green("ok    ") : paint.red("FAILED");
      const plain = wrapped(`${text}: ${found}`, "       ");
      return `${mark}${plain.slice(6)}`;
    })
    .join("\n");
}

/** One conversation against many: what each side called, per conversation. */
export function workloadTable({ workloads, conversations, packets }: Analysis): string {
  const all = conversations.length;
  const names = [...new Set(workloads.flatMap(({ calls }) => Object.keys(calls)))].sort();
  const head = [
    "",
    ...workloads.map(({ role }) => role),
    ...workloads.map(({ role }) => `${role}, each`),
  ];
  const rows = names.map((name) => [
    name,
    ...workloads.map(({ calls }) => count(calls[name] ?? 0)),
    ...workloads.map(({ calls }) => ((calls[name] ?? 0) / all).toFixed(2)),
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const layout = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ");
  return [
    `${count(all)} conversations, ${count(packets)} packets (${(packets / all).toFixed(1)} each); calls on their sockets:`,
    layout(head),
    ...rows.map(layout),
  ].join("\n");
}
