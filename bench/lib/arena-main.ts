/** arena-main: the program that a contestant runs in. */
import { CONTESTS } from "../rows/index.ts";
import { arenaMain } from "./arena.ts";

await arenaMain(CONTESTS);
