/** chat-commands: what can be typed in the interactive client, and what it means. */

/** Word to its arguments and what it does. Parsing, completion and help all come from this table. */
export const CHAT_COMMANDS = {
  "/ping": { args: "", about: "ask for a sign of life" },
  "/echo": { args: "MESSAGE", about: "have a message sent back" },
  "/broadcast": { args: "MESSAGE", about: "send a message to all other clients" },
  "/stats": { args: "", about: "ask for the server's statistics" },
  "/custom": { args: "TYPE [JSON]", about: "send a message of any type, with these fields" },
  "/help": { args: "", about: "show this list" },
  "/exit": { args: "", about: "leave; so does Ctrl-D" },
} as const;

export type ChatWord = keyof typeof CHAT_COMMANDS;

/** What a line asks for. */
export type ChatCommand =
  | { readonly do: "nothing" }
  | { readonly do: "help" }
  | { readonly do: "exit" }
  /** To be sent as it is. */
  | { readonly do: "ask"; readonly request: ChatRequest }
  /** Not understood, and why. */
  | { readonly do: "complain"; readonly about: string };

/** A request as the user means it. */
export type ChatRequest = { readonly type: string; readonly [field: string]: unknown };

/** Word to what the rest of its line means. */
const MEANINGS: Readonly<Record<ChatWord, (rest: string) => ChatCommand>> = {
  "/ping": () => ask({ type: "ping", timestamp: now(), client_info: "tcp-failure-lab" }),
  "/echo": (content) => ask({ type: "echo", content, timestamp: now() }),
  "/broadcast": (content) => ask({ type: "broadcast", content, timestamp: now() }),
  "/stats": () => ask({ type: "get_stats", timestamp: now() }),
  "/custom": custom,
  "/help": () => ({ do: "help" }),
  "/exit": () => ({ do: "exit" }),
};

/** Reads one line. What does not begin with a slash is text to send; `//x` is the text `/x`. */
export function chatCommand(line: string): ChatCommand {
  const text = line.trim();
  if (text === "") return { do: "nothing" };
  if (!text.startsWith("/")) return ask({ type: "text", content: line });
  if (text.startsWith("//")) return ask({ type: "text", content: text.slice(1) });
  const [, word = "", rest = ""] = /^(\S+)\s*([^]*)$/.exec(text) ?? [];
  if (!Object.hasOwn(MEANINGS, word))
    return { do: "complain", about: `unknown command ${word}; /help lists them` };
  const { args } = CHAT_COMMANDS[word as ChatWord];
  if (args !== "" && rest === "") return { do: "complain", about: `expected ${word} ${args}` };
  return MEANINGS[word as ChatWord](rest);
}

/** The commands that begin so, as readline wants them: the candidates, and what they complete. In a text the tab key gives a tab. */
export function completions(line: string): [string[], string] {
  if (!line.startsWith("/") || line.includes(" ")) return [[`${line}\t`], line];
  const found = Object.entries(CHAT_COMMANDS)
    .filter(([word]) => word.startsWith(line))
    .map(([word, { args }]) => (args === "" ? word : `${word} `));
  return [found, line];
}

function ask(request: ChatRequest): ChatCommand {
  return { do: "ask", request };
}

function now(): string {
  return new Date().toISOString();
}

function custom(rest: string): ChatCommand {
  const [, type = "", json = ""] = /^(\S+)\s*([^]*)$/.exec(rest) ?? [];
  if (json === "") return ask({ type });
  const fields = parsed(json);
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    return { do: "complain", about: `expected fields as {"name": value, ...}, got ${json}` };
  return ask({ ...fields, type });
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}
