/** kernel: what the kernel says, and the sandbox. */
export * from "./built.ts";
export * from "./counters.ts";
export * from "./errors.ts";
export * from "./memory.ts";
export * from "./ports.ts";
export * from "./process.ts";
export * from "./procfile.ts";
export * from "./residue.ts";
export * from "./sandbox.ts";
export * from "./shell.ts";
export * from "./sysctl.ts";
export * from "./tools.ts";
export * from "./watch.ts";
export * from "./exhaustion.ts";
