/** filter: which sockets are meant. Where the text does not tell, a socket is left out, and its reader has to know. */
import { familyOf } from "./endpoint.ts";
import { isAt, type Place } from "./place.ts";
import type { Endpoint, SocketRecord, TcpState } from "./record.ts";
import type { Predicate } from "./sinks.ts";

/** Conditions that a record must all meet; those left out are met by all. */
export type SocketFilter = {
  /** On either side. */
  readonly port?: number | undefined;
  /** On this side; see placesNamed(). */
  readonly local?: readonly Place[] | undefined;
  /** The same on the other side. */
  readonly remote?: readonly Place[] | undefined;
  readonly states?: readonly TcpState[] | undefined;
  readonly pid?: number | undefined;
  readonly family?: 4 | 6 | undefined;
};

/** Why it cannot be told whether a record meets a condition. */
export type Doubt = "family" | "state" | "owner" | "name" | "cut";

type Condition = (record: SocketRecord) => boolean | Doubt;

/**
 * The predicate of a filter; undefined when the filter lets everything through.
 *
 * @param onDoubt - told of each record that is left out only because its text does not tell enough.
 */
export function predicateOf(
  filter: SocketFilter,
  onDoubt: (doubt: Doubt) => void = () => undefined,
): Predicate | undefined {
  const conditions = conditionsOf(filter);
  if (conditions.length === 0) return undefined;
  return (record) => {
    let doubt: Doubt | undefined;
    for (const condition of conditions) {
      const answer = condition(record);
      if (answer === false) return false;
      if (answer !== true) doubt = answer;
    }
    if (doubt !== undefined) onDoubt(doubt);
    return doubt === undefined;
  };
}

/** Does a filter ask for nothing but states? Then it is for counts too that somebody else has made. */
export function isAboutStates(filter: SocketFilter): boolean {
  return conditionsOf({ ...filter, states: undefined }).length === 0;
}

function conditionsOf({ port, local, remote, states, pid, family }: SocketFilter): Condition[] {
  const conditions: (Condition | undefined)[] = [
    port === undefined ? undefined : hasPort(port),
    local === undefined ? undefined : (it) => isMeant(it.local, local),
    remote === undefined ? undefined : (it) => isMeant(it.remote, remote),
    states === undefined ? undefined : isIn(states),
    pid === undefined ? undefined : isHeldBy(pid),
    family === undefined
      ? undefined
      : (it) => (it.family === undefined ? "family" : it.family === family),
  ];
  return conditions.filter((condition) => condition !== undefined);
}

function hasPort(port: number): Condition {
  return ({ local, remote }) => {
    if (local.port === port || remote.port === port) return true;
    return typeof local.port === "string" || typeof remote.port === "string" ? "name" : false;
  };
}

function isIn(states: readonly TcpState[]): Condition {
  return ({ protocol, state }) => {
    if (state !== undefined) return states.includes(state);
    return protocol === "tcp" ? "state" : false;
  };
}

function isHeldBy(pid: number): Condition {
  return ({ owners }) => (owners.length === 0 ? "owner" : owners.some((it) => it.pid === pid));
}

function isMeant(endpoint: Endpoint, places: readonly Place[]): boolean | Doubt {
  if (isAt(endpoint, places)) return true;
  const { address, port } = endpoint;
  const isName = (typeof port === "string" || isHost(endpoint)) && mayBeMeant(endpoint, places);
  if (isName) return "name";
  const isCut = endpoint.truncated === true && places.some((it) => it.address?.startsWith(address));
  return isCut ? "cut" : false;
}

/** Would it be meant if its names were the right ones? */
function mayBeMeant(endpoint: Endpoint, places: readonly Place[]): boolean {
  return places.some(({ address, port, ...rest }) =>
    isAt(endpoint, [
      {
        ...rest,
        ...(address === undefined || isHost(endpoint) ? {} : { address }),
        ...(port === undefined || typeof endpoint.port === "string" ? {} : { port }),
      },
    ]),
  );
}

function isHost(endpoint: Endpoint): boolean {
  return endpoint.address !== "*" && familyOf(endpoint) === undefined;
}
