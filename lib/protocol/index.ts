/** protocol: what we put on the wire. */
export * from "./churn.ts";
export * from "./crowd.ts";
export * from "./echo-server.ts";
export * from "./errno.ts";
export * from "./leave.ts";
export * from "./percentiles.ts";
export * from "./visit.ts";
export * from "./visits.ts";
export * from "./json/errors.ts";
export * from "./json/frames.ts";
export * from "./json/messages.ts";
export * from "./json/metrics.ts";
export * from "./json/server.ts";
