import { defineConfig } from "vitest/config";

/** Under CI a skipped test is a failure: what CI cannot see is not tested. */
const reporters = process.env["CI"] ? ["default", "./lib/testing/no-skips.ts"] : ["default"];

export default defineConfig({
  test: {
    reporters,
    projects: [
      {
        // Pure functions: text in, data out. No processes, no sockets.
        test: {
          name: "unit",
          include: ["lib/**/*.test.ts", "docs/**/*.test.ts", "bench/**/*.test.ts"],
          exclude: ["lib/**/*.wire.test.ts"],
        },
      },
      {
        // Real processes and a real kernel, one file at a time: two at once would disturb each other's evidence.
        test: {
          name: "wire",
          include: ["cmd/**/*.test.ts", "lib/**/*.wire.test.ts"],
          fileParallelism: false,
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
    ],
  },
});
