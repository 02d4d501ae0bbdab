/** define: what a lab is. One file in lib/labs/ is one failure mode; this is its shape. */
import type { Bench } from "./bench.ts";

/** What labs are about, in the order in which a list shows them. No lab may have the name of a tag. */
export const TAGS = {
  ports: "local ports that are used up, taken, or slow to find",
  closing: "how connections end, and what stays behind",
  descriptors: "descriptors, and the processes that hold them",
  queues: "connections that wait for accept()",
  handshakes: "connections that do not come about",
  data: "what becomes of the bytes",
  peers: "the other end, and what lies in between",
} as const;

/** One of them. */
export type Tag = keyof typeof TAGS;

/**
 * A whole number that a user may change: its default, its meaning, unit included, and what it may be: a range, and what it has to be a
 * multiple of. Else 1 to 500: both ends of so many connections fit into the usual limit of 1,024 descriptors.
 */
export type Param = readonly [
  fallback: number,
  about: string,
  range?: readonly [low: number, high: number, multipleOf?: number],
];

/** Name to parameter. The name is that of a flag: `--ports`. */
export type Params = Readonly<Record<string, Param>>;

/** The present values of the parameters. */
export type ParamValues<P extends Params> = { readonly [K in keyof P]: number };

/** What the arms of a lab are for. */
export const ARM_KINDS = ["broken", "control", "fixed", "myth"] as const;

/** `broken` shows the failure, `control` must not show it, `fixed` cures it, `myth` is advice that does not help. */
export type ArmKind = (typeof ARM_KINDS)[number];

/** One run of a lab under one condition, in a sandbox of its own. */
export type Arm<P extends Params> = {
  /** What is different here, in a few words. */
  readonly about: string;
  readonly run: (bench: Bench, params: ParamValues<P>) => Promise<void>;
};

/** The words around a lab: for `lab explain`, the demo and the docs. */
export type Story = {
  /** What you will see. */
  readonly see: string;
  /** Why it happens. */
  readonly why: string;
  /** How to recognise it on your own machine: commands, and what they show. */
  readonly recognise: readonly (readonly [command: string, shows: string])[];
  /** Under what it is looked up: errnos, states, counters, log lines. */
  readonly symptoms?: readonly string[];
  /** How to cure it. */
  readonly fix: readonly string[];
  /** What not every machine has. An arm that misses it is skipped, with its reason; the others run. */
  readonly needs?: readonly string[];
  /** Where it has hurt in production: public reports. */
  readonly reports: readonly string[];
};

/** A lab as its file writes it. */
export type LabDefinition<P extends Params> = {
  /** The name of the file. */
  readonly name: string;
  readonly summary: string;
  /** What it is about; lists show it under the first one. */
  readonly tags: readonly [Tag] | readonly [Tag, Tag];
  readonly params: P;
  readonly story: Story;
  readonly arms: {
    readonly broken: Arm<P>;
    readonly control: Arm<P>;
    readonly fixed: readonly [Arm<P>, ...Arm<P>[]];
    readonly myth: readonly [Arm<P>, ...Arm<P>[]];
  };
};

/** A lab as the engine sees it: its arms in one row. */
export type Lab = {
  readonly name: string;
  readonly summary: string;
  readonly tags: readonly [Tag, ...Tag[]];
  readonly params: Params;
  readonly story: Story;
  readonly arms: readonly (Arm<Params> & { readonly kind: ArmKind })[];
};

/** The arms that tell the story: of several fixes only the first. */
export function mainArms(lab: Lab): Lab["arms"] {
  const firstFix = lab.arms.find((arm) => arm.kind === "fixed");
  return lab.arms.filter((arm) => arm.kind !== "fixed" || arm === firstFix);
}

/** Makes a lab; the default export of its file. */
export function defineLab<const P extends Params>(definition: LabDefinition<P>): Lab {
  const { broken, control, fixed, myth } = definition.arms;
  const arms = [
    { kind: "broken" as const, ...broken },
    { kind: "control" as const, ...control },
    ...fixed.map((arm) => ({ kind: "fixed" as const, ...arm })),
    ...myth.map((arm) => ({ kind: "myth" as const, ...arm })),
  ];
  const { name, summary, tags, params } = definition;
  const story = { ...definition.story, recognise: definition.story.recognise.map(foundInClone) };
  // An arm asks only for the parameters that its own lab declares, so seen from outside it takes any.
  return { name, summary, tags, params, story, arms: arms as unknown as Lab["arms"] };
}

/** Says of the one program of ours, where a reader is told to run it on a machine of his own, what it is called in a clone. */
function foundInClone([command, shows]: readonly [string, string]): readonly [string, string] {
  const isOurs = command.startsWith("tcp-states");
  return [command, isOurs ? `${shows} (in a clone tcp-states is node dist/cmd/states.js)` : shows];
}
