/** question: what is asked of one table, and what its text could not answer. */
import { predicateOf, type Doubt, type SocketFilter } from "./filter.ts";
import type { Grouping } from "./groups.ts";
import type { Endpoint } from "./record.ts";
import type { Predicate } from "./sinks.ts";

/** Which sockets, and in which groups. */
export type Inquiry = {
  readonly filter?: SocketFilter | undefined;
  readonly by?: Grouping | undefined;
};

/** For one reading of one table: what it has seen is added up. */
export type Question = {
  /** Sees every record, whether it is meant or not. Undefined where nothing is asked. */
  readonly where?: Predicate;
  /** The ports where something listens, whatever the filter says of the listeners. */
  readonly served: ReadonlySet<Endpoint["port"]>;
  /** What the reader of the answer has to know. To be called after the last record. */
  readonly notes: () => readonly string[];
};

/** Opens a question. */
export function openQuestion({ filter = {}, by }: Inquiry): Question {
  const doubts = new Map<Doubt, number>();
  const predicate = predicateOf(filter, (doubt) => doubts.set(doubt, (doubts.get(doubt) ?? 0) + 1));
  const served = new Set<Endpoint["port"]>();
  if (predicate === undefined && by === undefined) return { served, notes: () => [] };
  const seen = { rows: 0, owned: 0 };
  return {
    where: (record) => {
      seen.rows += 1;
      if (record.owners.length > 0) seen.owned += 1;
      if (record.state === "LISTEN") served.add(record.local.port);
      return predicate?.(record) ?? true;
    },
    served,
    notes: () => {
      if (seen.rows === 0) return [];
      const isOwnerless = seen.owned === 0 && (by === "process" || doubts.has("owner"));
      return [
        ...[...doubts].flatMap(([doubt, count]) => doubtNote(doubt, count)),
        ...(isOwnerless
          ? ["no owners in this table: the tool was not asked (-p), or may not see them"]
          : []),
        ...(by === "port" && served.size === 0 ? [GUESSED] : []),
      ];
    },
  };
}

const GUESSED =
  "nothing listens in this table: of both ports that which more sockets share, or the lower, is the service";

/** Sockets without an owner are normal: TIME_WAIT has none. */
const DOUBTS: Readonly<Record<Exclude<Doubt, "owner">, string>> = {
  family: "whose family the text does not show",
  state: "whose state the text does not show",
  name: "with names where a number was asked for (use -n)",
  cut: "whose address is cut",
};

function doubtNote(doubt: Doubt, count: number): string[] {
  if (doubt === "owner") return [];
  return [`${count === 1 ? "1 socket" : `${count} sockets`} ${DOUBTS[doubt]}: left out`];
}
