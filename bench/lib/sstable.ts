/** sstable: what `ss -tan` would print on a busy machine: as many rows as are wanted. */
const HEADER =
  "State      Recv-Q Send-Q       Local Address:Port        Peer Address:Port Process\n";
const STATES = ["ESTAB", "TIME-WAIT", "FIN-WAIT-1", "CLOSE-WAIT", "SYN-SENT", "LAST-ACK", "ESTAB"];

function row(index: number): string {
  const state = STATES[index % STATES.length] ?? "ESTAB";
  const local = `127.0.0.1:${1_024 + (index % 60_000)}`.padStart(26);
  const peer = `10.${index % 7}.${index % 200}.1:8080`.padStart(26);
  return `${state.padEnd(10)} 0      0      ${local} ${peer}           \n`;
}

/** One flat string, as a file or a pipe gives it. */
export function ssTable(rows: number): string {
  return flat([HEADER, ...Array.from({ length: rows }, (_, index) => row(index))]);
}

/** The same as `ss -tuan` prints it, with the column Netid in front. */
export function ssTableWithNetid(rows: number): string {
  const lines = Array.from({ length: rows }, (_, index) => `tcp   ${row(index)}`);
  return flat([`Netid ${HEADER}`, ...lines]);
}

function flat(lines: readonly string[]): string {
  return Buffer.from(lines.join("")).toString("latin1");
}

/** The same in pieces of a thousand rows, made while they are read. */
export async function* ssStream(rows: number): AsyncGenerator<string> {
  yield HEADER;
  for (let index = 0; index < rows; index += 1_000)
    yield await Promise.resolve(Array.from({ length: 1_000 }, (_, at) => row(index + at)).join(""));
}
