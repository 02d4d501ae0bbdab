import { describe, expect, it } from "vitest";
import { CHAT_COMMANDS, chatCommand, completions } from "./chat-commands.ts";

const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown;

describe("a line typed in the interactive client", () => {
  it.each([
    ["/ping", { type: "ping", timestamp, client_info: "tcp-failure-lab" }],
    ["/echo Hello TCP Server!", { type: "echo", content: "Hello TCP Server!", timestamp }],
    ["  /echo   two  blanks ", { type: "echo", content: "two  blanks", timestamp }],
    ["/broadcast to all", { type: "broadcast", content: "to all", timestamp }],
    ["/stats", { type: "get_stats", timestamp }],
    ["/custom custom_type", { type: "custom_type" }],
    ['/custom sum {"a": 2, "type": "x"}', { type: "sum", a: 2 }],
    ["Regular text", { type: "text", content: "Regular text" }],
    ["//echo is a command", { type: "text", content: "/echo is a command" }],
  ])("%s is a request", (line, request) => {
    expect(chatCommand(line)).toEqual({ do: "ask", request });
  });

  it.each([
    ["", { do: "nothing" }],
    ["   ", { do: "nothing" }],
    ["/help", { do: "help" }],
    ["/exit", { do: "exit" }],
    ["/echo", { do: "complain", about: "expected /echo MESSAGE" }],
    ["/custom", { do: "complain", about: "expected /custom TYPE [JSON]" }],
    ["/nope", { do: "complain", about: "unknown command /nope; /help lists them" }],
    ["/constructor", { do: "complain", about: "unknown command /constructor; /help lists them" }],
    [
      "/custom sum [1]",
      { do: "complain", about: 'expected fields as {"name": value, ...}, got [1]' },
    ],
    [
      "/custom sum {nope",
      { do: "complain", about: 'expected fields as {"name": value, ...}, got {nope' },
    ],
  ])("%j is %j", (line, command) => {
    expect(chatCommand(line)).toEqual(command);
  });

  it("is completed as long as it is the beginning of a command", () => {
    expect(completions("/e")).toEqual([["/echo ", "/exit"], "/e"]);
    expect(completions("/")[0]).toHaveLength(Object.keys(CHAT_COMMANDS).length);
    expect(completions("/x")).toEqual([[], "/x"]);
    expect(completions("/echo x")).toEqual([["/echo x\t"], "/echo x"]);
    expect(completions("e")).toEqual([["e\t"], "e"]);
  });
});
