/** shell-main: the first process of a sandbox shell: prepares the network, then runs the shell and waits for its end. */
import { execa } from "execa";
import { enterSandbox } from "../kernel/sandbox.ts";
import { writeSysctl } from "../kernel/sysctl.ts";
import { FRIENDLY } from "./shell.ts";

process.on("SIGINT", () => undefined); // Ctrl-C is for what runs in the shell.
await enterSandbox();
for (const [name, value] of Object.entries(FRIENDLY)) writeSysctl(name, value);
const [, , , file = "/bin/sh", ...args] = process.argv;
const { exitCode } = await execa(file, args, { stdio: "inherit", reject: false });
process.exit(exitCode ?? 1);
