/** sockets: what the tools say. Text becomes SocketRecords, records become StateCounts. Pure, except capture.ts. */
export * from "./record.ts";
export { ParseError, type ParseTrouble } from "./parse-error.ts";
export {
  parseSockets,
  parseNetstat,
  parseLsof,
  parseStream,
  countSockets,
  countStream,
} from "./parse.ts";
export type { ParsedText, ReadOptions, Tally } from "./reading.ts";
export { parseSs } from "./ss.ts";
export { parseProcNet } from "./proc-net.ts";
export * from "./listener.ts";
export { FORMATS } from "./formats.ts";
export type { Format, ParseOptions } from "./reader.ts";
export { FILTERED, type Predicate, type Skipped } from "./sinks.ts";
export { stateNamed, statesNamed, stateSpellings } from "./state-names.ts";
export { SOURCES, SOURCE_BLIND_SPOTS, type Source } from "./blind-spots.ts";
export {
  capture,
  readProcNet,
  countProcNet,
  CaptureError,
  type AskedSource,
  type Captured,
  type CaptureOptions,
  type ProcOptions,
} from "./capture.ts";
export { readOwners, ownedBy, type OwnersByInode } from "./owners.ts";
export { predicateOf, type Doubt, type SocketFilter } from "./filter.ts";
export { GROUPINGS, groupBy, type Group, type Grouping } from "./groups.ts";
export { placesNamed, type Place } from "./place.ts";
export { lookLive, lookAtFile, looks, type Look, type LookOptions } from "./look.ts";
export { decodeText, decodeStream } from "./decode.ts";
export { identityOf } from "./identity.ts";
export { lookJson, type LookJson, type LookJsonOptions } from "./json.ts";
export { observe, type Observed } from "./observe.ts";
export {
  reconcile,
  type Difference,
  type KernelNumber,
  type Observation,
  type Observations,
  type Reconciliation,
} from "./reconcile.ts";
