/** lab: how a lab runs. Knows no particular lab and prints nothing. */
export * from "./bench.ts";
export * from "./claim.ts";
export * from "./define.ts";
export * from "./events.ts";
export * from "./load.ts";
export * from "./parameters.ts";
export * from "./result.ts";
export * from "./run.ts";
export { startServer, type RunningServer } from "./program.ts";
