/** shell-main: the first process of a sandbox shell: prepares the network, then runs the shell and waits for its end. */
import { writeSync } from "node:fs";
import { execa } from "execa";
import { NeedsError } from "../kernel/errors.ts";
import { LIFELINE, whenCutLoose } from "../kernel/lifeline.ts";
import { exitCodeOf } from "../kernel/process.ts";
import { enterSandbox } from "../kernel/sandbox.ts";
import { writeSysctl } from "../kernel/sysctl.ts";
import { FRIENDLY } from "./shell.ts";

whenCutLoose(() => process.exit());
process.on("SIGINT", () => undefined); // Ctrl-C is for what runs in the shell.
await enterSandbox().catch((error: unknown) => {
  if (!(error instanceof NeedsError)) throw error;
  process.stderr.write(`lab: ${error.message} [${error.code}]\n`);
  process.exit(2);
});
for (const [name, value] of Object.entries(FRIENDLY)) writeSysctl(name, value);
const [, , , file = "/bin/sh", ...args] = process.argv;
const shell = execa(file, args, { stdio: "inherit", reject: false });
writeSync(LIFELINE, "\n"); // It has begun.
process.exit(exitCodeOf(await shell));
