/** rows: all contests, in the order in which they are run. */
import type { Contest } from "../lib/contest.ts";
import { bombContest } from "./bomb.ts";
import { c100kContest, crowdContest } from "./crowd.ts";
import { fillContest } from "./fill.ts";
import { framedContest } from "./framed.ts";
import { idleContest } from "./idle.ts";
import { demoContest, labsContest } from "./labs.ts";
import { machineContest } from "./machine.ts";
import { parseContest, streamContest } from "./parse.ts";
import { startContest } from "./start.ts";
import { watchContest } from "./watch.ts";

export const CONTESTS: readonly Contest[] = [
  machineContest,
  startContest,
  parseContest,
  streamContest,
  bombContest,
  fillContest,
  framedContest,
  idleContest,
  crowdContest,
  c100kContest,
  watchContest,
  demoContest,
  labsContest,
];
