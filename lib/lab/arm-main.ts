/** arm-main: the program that the runner starts inside a sandbox. */
import { armMain } from "./arm.ts";

await armMain();
