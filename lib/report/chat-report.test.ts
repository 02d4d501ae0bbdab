import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chatJson, chatText } from "./chat-report.ts";
import { safe } from "./format.ts";
import { demoStep } from "./demo-report.ts";
import { theme } from "./lab-report.ts";

const paint = theme(false);
const widthOf = (text: string): number => Math.max(...text.split("\n").map((line) => line.length));

describe("what others have sent", () => {
  it("cannot move the cursor, change colours, forge a line or turn text around", () => {
    const content = "\u001B[2J\u001B[31mred\r\n> /exit\u009B1A\u202Eback\u0007";
    const message = {
      type: "broadcast_message",
      content,
      from: "127.0.0.1:1",
      timestamp: "",
    } as const;
    const text = chatText({ event: "broadcast", message }, paint);
    expect(text).toBe(
      "[127.0.0.1:1] \\u001b[2J\\u001b[31mred\\u000d\\u000a> /exit\\u009b1A\\u202eback\\u0007",
    );
  });

  it("is shown, whatever it lacks, and however deep it is nested", () => {
    const shown = (message: object, event = "broadcast"): string =>
      chatText({ event, message } as never, paint);
    expect(shown({ type: "broadcast_message", from: 7 })).toBe("[7] null");
    const deep = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`) as unknown;
    expect(shown({ from: "x", content: deep })).toBe('[x] "(nested too deeply to be shown)"');
    expect(shown({ type: "news", deep }, "message")).toContain("nested too deeply");
    const json = chatJson({ event: "message", message: { type: "news", deep } });
    expect(JSON.parse(json)).toEqual({
      ...{ version: 1, event: "message" },
      message: "(nested too deeply to be shown)",
    });
  });

  it("stays readable in every script", () => {
    expect(safe("Grüße, γειά, 你好, \u{1F40D}")).toBe("Grüße, γειά, 你好, \u{1F40D}");
  });

  it("is shown without a control character, whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(safe(text)).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});

describe("answers", () => {
  const shown = (answer: { type: string }): string =>
    chatText({ event: "answer", request: { type: "x" }, answer, durationMs: 1.234 }, paint);

  it("are sentences where the type is known, and JSON where it is not", () => {
    const echo = { type: "echo_response", content: "hi", echoed_by: "TCP Server", id: 1 };
    expect(shown(echo)).toBe("echo by TCP Server: hi  (1.23 ms)");
    expect(shown({ type: "broadcast_sent", recipients: 23 } as never)).toMatch(/^sent to 23 other/);
    expect(shown({ type: "sum", sum: 5, id: 7 } as never)).toBe(
      '{"type":"sum","sum":5}  (1.23 ms)',
    );
  });

  it("of servers that leave fields out say so", () => {
    expect(shown({ type: "pong" })).toContain("you are null");
  });
});

describe("a step of the demo", () => {
  const step = { title: "Echo", about: "the same back", held: true };

  it("fits into 80 columns, and a long message into six lines", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 2_000 }), (text) => {
        const lines = [{ kind: "sent", text } as const];
        const report = demoStep({ ...step, lines }, paint);
        expect(widthOf(report)).toBeLessThanOrEqual(80);
        expect(report.split("\n").length).toBeLessThanOrEqual(10);
      }),
    );
  });

  it("says when the server did something else", () => {
    expect(demoStep({ ...step, lines: [], held: false }, paint)).toContain("NOT as documented");
  });
});
