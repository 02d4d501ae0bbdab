/** A vitest reporter for CI: fails the run when a test was skipped, and names it. */
import type { Reporter, TestCase, TestModule } from "vitest/node";

export default class NoSkips implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) => [...module.children.allTests("skipped")]);
    if (skipped.length === 0) return;
    for (const test of skipped) process.stderr.write(`skipped under CI: ${describe(test)}\n`);
    process.exitCode = 1;
  }
}

function describe(test: TestCase): string {
  const { note } = test.result() as { note?: string };
  return `${test.module.relativeModuleId} > ${test.fullName}${note === undefined ? "" : ` (${note})`}`;
}
