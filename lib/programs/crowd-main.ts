/**
 * crowd-main: a crowd of connections in a process of its own, for more connections than one process may have descriptors.
 *
 * Whoever has started it says what to do, one thing at a time, and it answers each with one message; "stop" may come at any time and has
 * no answer of its own: what is under way comes to its end. The process ends when the other end of the channel has gone, for whatever reason.
 */
import { Crowd, type CrowdOptions } from "../protocol/crowd.ts";
import { keepYoungGenerationSmall } from "./heap.ts";

/** A crowd as it can be told to another process. */
export type CrowdPlan = Omit<CrowdOptions, "message" | "signal"> & {
  readonly messageBytes: number;
};

/** One thing to do. */
export type CrowdOrder =
  | { readonly do: "gather"; readonly plan: CrowdPlan }
  | { readonly do: "open" }
  | { readonly do: "exchange"; readonly rounds: number }
  | { readonly do: "stop" };

const stopped = new AbortController();
let crowd: Crowd | undefined;

/** Resolves to the answer; undefined is none. */
async function obey(order: CrowdOrder): Promise<unknown> {
  switch (order.do) {
    case "gather": {
      const message = Buffer.alloc(order.plan.messageBytes, "x");
      crowd = new Crowd({ ...order.plan, message, signal: stopped.signal });
      return {};
    }
    case "open":
      return crowd?.open();
    case "exchange":
      return crowd?.exchange(order.rounds);
    case "stop":
      stopped.abort();
      return undefined;
  }
}

keepYoungGenerationSmall();
process.on("SIGINT", () => undefined); // Ctrl-C reaches the whole group; ours is to sum up first.
process.on("disconnect", () => process.exit());
process.on("message", (order: CrowdOrder) => {
  void obey(order).then((answer) => {
    if (answer !== undefined) process.send?.(answer);
  });
});
