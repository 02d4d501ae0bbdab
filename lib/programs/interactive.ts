/**
 * interactive: a conversation with a server, line by line. What to print is up to `show`; this decides when.
 *
 * At a terminal lines have a history and are completed, answers and broadcasts appear above the line that is being typed, and
 * several requests may be under way. From a pipe each line waits for the answer to the last, so that a script gets its answers in order.
 */
import {
  createInterface,
  cursorTo,
  clearScreenDown,
  moveCursor,
  type Interface,
} from "node:readline";
import type { JsonClient } from "../protocol/json/client.ts";
import type { BroadcastDelivery, Message } from "../protocol/json/messages.ts";
import { chatCommand, CHAT_COMMANDS, completions, type ChatRequest } from "./chat-commands.ts";

/** What there is to show. */
export type ChatEvent =
  | {
      readonly event: "answer";
      readonly request: ChatRequest;
      readonly answer: Message;
      readonly durationMs: number;
    }
  /** No answer, or an error for one. */
  | { readonly event: "failure"; readonly request: ChatRequest; readonly error: Error }
  | { readonly event: "complaint"; readonly about: string }
  | { readonly event: "help"; readonly commands: typeof CHAT_COMMANDS }
  | { readonly event: "broadcast"; readonly message: BroadcastDelivery }
  | { readonly event: "message"; readonly message: Message }
  | { readonly event: "disconnect"; readonly error: Error }
  | { readonly event: "reconnecting"; readonly attempt: number; readonly delayMs: number }
  | { readonly event: "connect" };

/** With whom, and where. */
export type Chat = {
  readonly client: JsonClient;
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
  /** Do both lead to a terminal that can move its cursor? */
  readonly isTerminal: boolean;
  readonly prompt: string;
  readonly print: (event: ChatEvent) => void;
  readonly signal: AbortSignal;
};

/** How it went. */
export type ChatSummary = { readonly asked: number; readonly failed: number };

/** Talks until the input ends, `/exit`, or the signal, which also ends the wait for answers. Leaves the client open. */
export async function chat(options: Chat): Promise<ChatSummary> {
  const { client, input, output, isTerminal, prompt, signal } = options;
  // Lines that were closed before anybody read them would never end.
  if (signal.aborted) return { asked: 0, failed: 0 };
  const lines = createInterface({
    input,
    terminal: isTerminal,
    prompt,
    completer: completions,
    historySize: 1_000,
    removeHistoryDuplicates: true,
    ...(isTerminal ? { output } : {}),
  });
  if (isTerminal) insertWhereTheCursorIs(lines);
  const print = isTerminal ? above(lines, output, options.print) : options.print;
  const aborted = new Promise<false>((resolve) => {
    const stop = (): void => {
      lines.close();
      resolve(false);
    };
    signal.addEventListener("abort", stop);
  });
  const unlessAborted = (answer: Promise<boolean>): Promise<boolean> =>
    Promise.race([answer, aborted]);
  const silence = listen(client, print);
  try {
    const talk = {
      lines,
      signal,
      unlessAborted,
      obey: (line: string) => obey(line, client, print),
    };
    return await (isTerminal ? typed(talk) : piped(talk));
  } finally {
    silence();
    lines.close();
  }
}

/**
 * Node 20 switches completion off while it reads keys that came in one piece (a paste, fast fingers), and then appends them to the
 * line, wherever the cursor is: _insertString in lib/internal/readline/interface.js. So it stays on.
 */
function insertWhereTheCursorIs(lines: Interface): void {
  Object.defineProperty(lines, "isCompletionEnabled", { get: () => true, set: () => undefined });
}

/** Prints above the line that is being typed, and shows this line again, the cursor where it was. */
function above(lines: Interface, output: NodeJS.WriteStream, print: Chat["print"]): Chat["print"] {
  let isClosed = false;
  lines.once("close", () => (isClosed = true));
  return (event) => {
    if (isClosed) {
      print(event);
      return;
    }
    moveCursor(output, 0, -lines.getCursorPos().rows);
    cursorTo(output, 0);
    clearScreenDown(output);
    print(event);
    // readline believes its line to be further up, when it has several rows.
    (lines as Interface & { prevRows?: number }).prevRows = 0;
    lines.prompt(true);
  };
}

/** Shows what comes without being asked for, until the returned function is called. */
function listen(client: JsonClient, print: Chat["print"]): () => void {
  const listeners = {
    broadcast: (message: BroadcastDelivery) => print({ event: "broadcast", message }),
    message: (message: Message) => print({ event: "message", message }),
    disconnect: (error: Error) => print({ event: "disconnect", error }),
    reconnecting: (details: { attempt: number; delayMs: number }) =>
      print({ event: "reconnecting", ...details }),
    connect: () => print({ event: "connect" }),
  };
  for (const [name, listener] of Object.entries(listeners))
    client.on(name as never, listener as never);
  return () => {
    for (const [name, listener] of Object.entries(listeners))
      client.off(name as never, listener as never);
  };
}

/** What both ways to talk need. */
type Talk = {
  readonly lines: Interface;
  readonly signal: AbortSignal;
  /** Does what a line says, see obey(). */
  readonly obey: (line: string) => ReturnType<typeof obey>;
  /** The answer, or false at the signal. */
  readonly unlessAborted: (answer: Promise<boolean>) => Promise<boolean>;
};

async function typed({ lines, obey, unlessAborted }: Talk): Promise<ChatSummary> {
  const asked: Promise<boolean>[] = [];
  // Ctrl-C takes back what was typed; with nothing typed it is for the program, as everywhere.
  lines.on("SIGINT", () => {
    if (lines.line === "") process.kill(process.pid, "SIGINT");
    for (const name of ["e", "u"]) lines.write(null, { ctrl: true, name });
  });
  // After Ctrl-Z and fg readline is paused until it is asked to go on: no key, not even Ctrl-C, would get through.
  lines.on("SIGCONT", () => lines.prompt(true));
  lines.prompt();
  await new Promise<void>((resolve) => {
    lines.once("close", resolve);
    lines.on("line", (line) => {
      const answer = obey(line);
      if (answer === "exit") lines.close();
      else {
        if (answer !== undefined) asked.push(answer);
        lines.prompt();
      }
    });
  });
  const answered = await Promise.all(asked.map(unlessAborted));
  return { asked: answered.length, failed: answered.filter((isFine) => !isFine).length };
}

async function piped({ lines, signal, obey, unlessAborted }: Talk): Promise<ChatSummary> {
  let asked = 0;
  let failed = 0;
  for await (const line of lines) {
    // The interface, closed by now, still yields the lines that it has read.
    if (signal.aborted) break;
    const answer = obey(line);
    if (answer === "exit") break;
    if (answer === undefined) continue;
    asked += 1;
    if (!(await unlessAborted(answer))) failed += 1;
  }
  return { asked, failed };
}

/** Does what a line says. For a request: a promise of whether it was answered without an error. */
function obey(
  line: string,
  client: JsonClient,
  print: Chat["print"],
): Promise<boolean> | "exit" | undefined {
  const command = chatCommand(line);
  switch (command.do) {
    case "nothing":
      return undefined;
    case "exit":
      return "exit";
    case "help":
      print({ event: "help", commands: CHAT_COMMANDS });
      return undefined;
    case "complain":
      print({ event: "complaint", about: command.about });
      return Promise.resolve(false);
    case "ask":
      return ask(command.request, client, print);
  }
}

async function ask(
  request: ChatRequest,
  client: JsonClient,
  print: Chat["print"],
): Promise<boolean> {
  const startMs = performance.now();
  try {
    const answer = await client.request(request);
    print({ event: "answer", request, answer, durationMs: performance.now() - startMs });
    return true;
  } catch (error) {
    print({ event: "failure", request, error: error as Error });
    return false;
  }
}
