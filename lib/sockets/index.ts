/** sockets: what the tools say. Text becomes SocketRecords, records become StateCounts. Pure, except capture.ts. */
export * from "./record.ts";
export { ParseError, type ParseTrouble } from "./parse-error.ts";
export { parseSockets, parseNetstat, parseLsof, countSockets, countStream } from "./parse.ts";
export type { ParsedText, ReadOptions, Tally } from "./reading.ts";
export { parseSs } from "./ss.ts";
export { parseProcNet } from "./proc-net.ts";
export * from "./listener.ts";
export { FORMATS } from "./formats.ts";
export type { Format, ParseOptions } from "./reader.ts";
export { FILTERED, type Predicate, type Skipped } from "./sinks.ts";
export { stateNamed, stateSpellings } from "./state-names.ts";
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
export {
  GROUPINGS,
  groupBy,
  predicateOf,
  type Group,
  type Grouping,
  type SocketFilter,
} from "./filter.ts";
export { lookLive, lookAtFile, type Look, type LookOptions } from "./look.ts";
export { decodeText, decodeStream } from "./decode.ts";
export { identityOf } from "./identity.ts";
