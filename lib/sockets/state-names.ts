/**
 * state-names: how every tool spells the 11 states.
 *
 * A Map and not an object: `({})["constructor"]` is not undefined, and the keys are foreign text. One map for all
 * tools, because the spellings do not contradict each other, and texts mix them (cnquery has seen lsof print
 * `SYN_RCVD` beside `FIN_WAIT2`, which no single operating system's table does).
 */
import { TCP_STATES, type TcpState } from "./record.ts";

const SPELLINGS: Readonly<Record<TcpState, readonly string[]>> = {
  ESTABLISHED: ["ESTABLISHED", "ESTAB", "VERBUNDEN", "HERGESTELLT", "ESTABELECIDA", "SPOJENO"],
  SYN_SENT: ["SYN_SENT", "SYN-SENT", "SYN_SEND", "SYN_GESENDET", "SYN_ENVIADO"],
  // A request that waits for its last ACK is NEW_SYN_RECV inside the kernel; it tells everybody SYN_RECV.
  SYN_RECV: [
    "SYN_RECV",
    "SYN-RECV",
    "SYN_RCVD",
    "SYN_RECEIVED",
    "SYN_RECVD",
    "SYN_EMPFANGEN",
    "SYN_RECEBIDO",
  ],
  FIN_WAIT1: ["FIN_WAIT1", "FIN-WAIT-1", "FIN_WAIT_1", "FIN_WARTEN_1", "ESPERA_FIN1"],
  FIN_WAIT2: ["FIN_WAIT2", "FIN-WAIT-2", "FIN_WAIT_2", "FIN_WARTEN_2", "ESPERA_FIN2"],
  TIME_WAIT: ["TIME_WAIT", "TIME-WAIT", "TIMED_WAIT", "WARTEND"],
  // Opened or bound, but neither listening nor connected: no state of RFC 9293 fits but CLOSED.
  CLOSE: ["CLOSE", "CLOSED", "UNCONN", "BOUND", "IDLE", "DELETE_TCB", "FECHAR", "ZAVŘEN"],
  CLOSE_WAIT: ["CLOSE_WAIT", "CLOSE-WAIT", "SCHLIESSEN_WARTEN", "ESPERANDO_FECHAR"],
  LAST_ACK: ["LAST_ACK", "LAST-ACK", "LETZTES_ACK", "ÚLTIMO_ACK", "POSLEDNÍ ACK"],
  LISTEN: [
    "LISTEN",
    "LISTENING",
    "ABHÖREN",
    // The same word in code page 850, read as Latin-1; by somebody before us as UTF-8 or as Windows-1252.
    "ABH\u0099REN",
    "ABH\uFFFDREN",
    "ABH\u2122REN",
    "OUÇA",
    "NASLOUCHÁ",
  ],
  CLOSING: ["CLOSING", "SCHLIESSEND", "FECHANDO", "ZAVÍRÁ"],
};

const STATE_OF: ReadonlyMap<string, TcpState> = new Map(
  Object.entries(SPELLINGS).flatMap(([state, names]) =>
    names.map((name) => [name, state as TcpState]),
  ),
);

/** The state that a tool's word means, or undefined when no tool is known to print it. */
export function stateNamed(word: string): TcpState | undefined {
  return STATE_OF.get(word);
}

/**
 * The states that a list means: `time_wait,CLOSE-WAIT`, in any spelling and case.
 *
 * @throws Error for a word that is no state, naming all 11.
 */
export function statesNamed(list: string): readonly TcpState[] {
  return list.split(",").map((word) => {
    const state = stateNamed(word.trim().toUpperCase());
    if (state !== undefined) return state;
    throw new Error(`expected states such as ${TCP_STATES.join(",")}, got ${JSON.stringify(word)}`);
  });
}

/** Every known spelling, for documentation and for properties. */
export function stateSpellings(): readonly (readonly [word: string, state: TcpState])[] {
  return [...STATE_OF];
}

/** The kernel numbers the states in the order of TCP_STATES, and adds 0C, NEW_SYN_RECV, and 0D, BOUND_INACTIVE. */
const CODES: readonly TcpState[] = [...TCP_STATES, "SYN_RECV", "CLOSE"];

/** The state of a code in /proc/net/tcp, 1 to 13 (include/net/tcp_states.h). */
export function stateOfCode(code: number): TcpState | undefined {
  return CODES[code - 1];
}
