/** narrator: follows a lab as it runs and tells it line by line. */
import type { Lab } from "../lab/define.ts";
import type { RunOptions } from "../lab/run.ts";
import { wrapped } from "./format.ts";
import {
  armHeading,
  armOutcome,
  labOpening,
  predictionLine,
  sampleLine,
  sampleTable,
  sayLine,
  rulesLines,
  settingLine,
  theme,
} from "./lab-report.ts";

/** Where a narrator writes: the part of a command's Io that it needs. */
export type Stage = {
  readonly out: (text: string) => void;
  readonly live: (text: string) => void;
  readonly color: { readonly out: boolean };
  readonly isScreen: { readonly err: boolean };
};

/** Callbacks for `runLab`. With `story` also why it happens, every prediction before the run, and the states while it runs. */
export function narrator(
  lab: Lab,
  stage: Stage,
  withStory: boolean,
): Required<Pick<RunOptions, "onArm" | "onEvent" | "onArmEnd">> {
  const paint = theme(stage.color.out);
  stage.out(
    withStory
      ? labOpening(lab, paint)
      : `\n${wrapped(lab.summary, `${lab.name}: `).replace(lab.name, paint.bold(lab.name))}`,
  );
  stage.out("");
  return {
    onArm: (arm) => stage.out(armHeading(arm, paint)),
    onEvent: (event) => {
      if (event.event === "say") stage.out(sayLine(event.text));
      if (event.event === "set") stage.out(settingLine(event.setting, paint));
      if (event.event === "rules") stage.out(rulesLines(event.rules, paint));
      if (event.event === "predicted" && withStory) stage.out(predictionLine(event, paint));
      if (event.event === "sample" && withStory)
        stage.live(stage.isScreen.err ? sampleTable(event.sample) : sampleLine(event.sample));
    },
    onArmEnd: (result) => stage.out(armOutcome(result, paint, withStory)),
  };
}
