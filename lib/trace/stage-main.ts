/** stage-main: the first process of a recording's sandbox. */
import { stageMain } from "./stage.ts";

await stageMain();
