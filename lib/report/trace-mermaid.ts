/** trace-mermaid: a recorded conversation as a sequence diagram for Mermaid, which GitHub draws. */
import type { Row, Timeline } from "../trace/timeline.ts";
import type { States } from "../trace/states.ts";
import { callText, packetText } from "./trace-table.ts";

/** Calls become arrows between program and kernel, packets arrows between the kernels, states notes where they change. */
export function traceMermaid({ rows }: Timeline): string {
  let before: States | undefined;
  const lines = rows.flatMap((row) => {
    if (row.kind === "call") return [callLine(row)];
    const { states } = row;
    const isNew = states?.client !== before?.client || states?.server !== before?.server;
    before = states ?? before;
    return [
      ...(row.kind === "timer" ? [] : [packetLine(row)]),
      ...(states !== undefined && isNew ? [stateLine(states)] : []),
    ];
  });
  return [
    "sequenceDiagram",
    ...[
      "participant cp as client program",
      "participant ck as client's kernel",
      "participant sk as server's kernel",
      "participant sp as server program",
      ...lines,
    ].map((line) => `    ${line}`),
  ].join("\n");
}

function callLine(row: Row & { readonly kind: "call" }): string {
  const [program, kernel] = row.side === "client" ? ["cp", "ck"] : ["sp", "sk"];
  // A wake-up comes from the kernel, everything else goes to it.
  const isAnswer = row.phase === "end" || row.isWakeUp;
  const arrow = isAnswer ? `${kernel}-->>${program}` : `${program}->>${kernel}`;
  return `${arrow}: ${safe(callText(row))}`;
}

function packetLine(row: Row & { readonly kind: "packet" }): string {
  const arrow = row.side === "client" ? "ck->>sk" : "sk->>ck";
  return `${arrow}: ${safe(packetText(row.packet, row.side).slice("-> ".length))}`;
}

function stateLine({ client, server }: States): string {
  return `Note over ck,sk: client ${client}, server ${server}`;
}

/** A semicolon ends a statement of Mermaid, and # begins an entity. */
function safe(text: string): string {
  return text.replaceAll("#", "#35;").replaceAll(/(?<!#35);/g, "#59;");
}
