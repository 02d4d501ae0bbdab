/** trace-mermaid: a recorded conversation as a sequence diagram for Mermaid, which GitHub draws. */
import type { Timeline } from "../trace/timeline.ts";
import type { States } from "../trace/states.ts";
import { callText, packetText } from "./trace-table.ts";

/** Calls become notes over their side, packets arrows between the kernels, states notes where they change. */
export function traceMermaid({ rows }: Timeline): string {
  let before: States | undefined;
  const lines = rows.flatMap((row) => {
    if (row.kind === "call") {
      const [program, kernel] = row.side === "client" ? ["cp", "ck"] : ["sp", "sk"];
      // A wake-up comes from the kernel, everything else goes to it.
      const isAnswer =
        row.phase === "end" || row.name.includes("wait") || /poll$|select/.test(row.name);
      const arrow = isAnswer ? `${kernel}-->>${program}` : `${program}->>${kernel}`;
      return [`${arrow}: ${safe(callText(row))}`];
    }
    const [from, to] = row.side === "client" ? ["ck", "sk"] : ["sk", "ck"];
    const text = packetText(row.packet, row.side).slice("-> ".length);
    const states = row.states;
    const isNew = states?.client !== before?.client || states?.server !== before?.server;
    before = states ?? before;
    const note =
      states !== undefined && isNew
        ? [`Note over ck,sk: client ${states.client}, server ${states.server}`]
        : [];
    return [`${from}->>${to}: ${safe(text)}`, ...note];
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

/** A semicolon ends a statement of Mermaid, and # begins an entity. */
function safe(text: string): string {
  return text.replaceAll("#", "#35;").replaceAll(/(?<!#35);/g, "#59;");
}
