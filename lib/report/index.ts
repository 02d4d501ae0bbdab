/** report: data becomes text. The only room with chalk and cli-table3. */
export * from "./bomb-report.ts";
export * from "./chat-report.ts";
export * from "./demo-report.ts";
export * from "./format.ts";
export * from "./json-server-report.ts";
export * from "./lab-formats.ts";
export * from "./lab-report.ts";
export * from "./lab-summary.ts";
export * from "./multiplex-report.ts";
export * from "./narrator.ts";
export * from "./performance-report.ts";
export * from "./server-report.ts";
export * from "./timeline.ts";
export * from "./visits-report.ts";
