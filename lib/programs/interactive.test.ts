import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { chat } from "./interactive.ts";

it.each([true, false])(
  "does not wait for lines when it was stopped before it began; at a terminal: %s",
  async (isTerminal) => {
    const summary = await chat({
      client: new EventEmitter() as never,
      input: new PassThrough() as never,
      output: new PassThrough() as never,
      isTerminal,
      prompt: "> ",
      print: () => undefined,
      signal: AbortSignal.abort(),
    });
    expect(summary).toEqual({ asked: 0, failed: 0 });
  },
);
