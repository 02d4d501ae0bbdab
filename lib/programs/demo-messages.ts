/** demo-messages: the scenes of the demo that show the protocol itself. */
import { once, type EventEmitter } from "node:events";
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import { openConnection } from "../protocol/json/connect.ts";
import { encodeFrame } from "../protocol/json/frames.ts";
import { PLAIN, type Message } from "../protocol/json/messages.ts";
import type { Scene } from "./demo.ts";

const AT_ONCE = 23;
const LARGE_BYTES = 100_000;
const PATIENCE_MS = 5_000;

export const DEMO_MESSAGES: readonly Scene[] = [
  {
    title: "A frame",
    about: "four bytes of length, then JSON: what is on the wire",
    play: async ({ open, sent, got, note, check }) => {
      const connection = await open();
      const text = '{"type":"ping"}';
      sent(hex(encodeFrame(text)));
      note(`that is a length of ${text.length}, and ${text}`);
      const answer = await answerTo(connection, encodeFrame(text));
      got(hex(answer));
      note(`that is a length of ${answer.readUInt32BE(0)}, and ${answer.subarray(4).toString()}`);
      check(messageIn(answer), "ping");
      return answer.length === 4 + answer.readUInt32BE(0);
    },
  },
  {
    title: "Ping and pong",
    about: "is the server alive, and who are we?",
    play: async ({ open, ask }) => {
      const timestamp = new Date().toISOString();
      const request = { type: "ping", timestamp, client_info: "tcp-failure-lab, demo" };
      const { answer } = await ask(await open(), request);
      return answer?.["ping_timestamp"] === timestamp;
    },
  },
  {
    title: "Echo",
    about: "the same text back, whatever its language",
    play: async ({ open, ask }) => {
      const content = "Hello TCP Server! Grüße, γειά, \u{1F40D}";
      const { answer } = await ask(await open(), { type: "echo", content });
      return answer?.["content"] === content;
    },
  },
  {
    title: "Broadcast",
    about: "to all other clients; here there is at least one more, which is ours",
    play: async ({ open, ask, got, note, check }) => {
      const [sender, other] = [await open(), await open()];
      await other.request({ type: "ping" });
      const heard = next(other, "broadcast");
      const content = "Message to all clients";
      const { answer } = await ask(sender, { type: "broadcast", content });
      const [message] = (await heard) as [Message];
      note("and the other client:");
      got(message);
      check(message);
      return message["content"] === content && Number(answer?.["recipients"]) >= 1;
    },
  },
  {
    title: "Statistics",
    about: "what the server has counted",
    play: async ({ open, ask }) => {
      const { answer } = await ask(await open(), { type: "get_stats" });
      return Number(answer?.["connected_clients"]) >= 1;
    },
  },
  {
    title: "Plain text",
    about: "what the interactive client sends when no command is typed",
    play: async ({ open, ask }) => {
      const { answer } = await ask(await open(), { type: "text", content: "just text" });
      return answer?.["length"] === 9;
    },
  },
  {
    title: "A type of your own",
    about: "a server that has no handler for it says so, and the connection goes on",
    play: async ({ open, ask }) => {
      const connection = await open();
      const { code } = await ask(connection, { type: "custom_type", data: { data: "value" } });
      const { answer } = await ask(connection, { type: "echo", content: "still here" });
      return code === "UNKNOWN_TYPE" && answer !== undefined;
    },
  },
  {
    title: "Mistakes",
    about: "each has a code; only what destroys the framing ends the connection",
    play: async ({ open, ask, sent, got, note, check }) => {
      const connection = await open();
      const { code } = await ask(connection, { type: "echo" });
      sent("{nope");
      const notJson = messageIn(await answerTo(connection, encodeFrame("{nope")));
      got(notJson);
      check(notJson);
      const tooLarge = Buffer.from("7fffffff", "hex");
      sent(hex(tooLarge));
      const closed = next(connection, "close");
      const refused = messageIn(await answerTo(connection, tooLarge));
      got(refused);
      check(refused);
      await closed;
      note("and the server has closed the connection");
      const codes = [code, notJson["code"], refused["code"]];
      return codes.join() === "BAD_FIELD,BAD_JSON,FRAME_TOO_LARGE";
    },
  },
  {
    title: "Many at once",
    about: "no need to wait for one answer before the next request: one write, answers in order",
    play: async ({ open, note }) => {
      const connection = await open();
      const startMs = performance.now();
      const order: number[] = [];
      const answers = await Promise.all(
        Array.from({ length: AT_ONCE }, async (_, index) => {
          const { content } = await connection.request({ type: "echo", content: `${index}` });
          order.push(Number(content));
          return content === `${index}`;
        }),
      );
      const durationMs = performance.now() - startMs;
      note(
        `${AT_ONCE} requests in flight, ${order.length} answers after ${durationMs.toFixed(1)} ms`,
      );
      return answers.every(Boolean) && order.every((value, index) => value === index);
    },
  },
  {
    title: "Compression",
    about: "asked for in hello; then each message is compressed when that makes it shorter",
    play: async ({ open, ask, note }) => {
      const connection = await open({ compression: false });
      const { max_frame_bytes: most } = await connection.request({ type: "hello" });
      const words = "the same words again and again; ";
      // Half of what the server takes leaves room for what is around it.
      const content = words.repeat(Math.min(LARGE_BYTES, most / 2) / words.length);
      const echo = async (): Promise<number> => {
        const before = connection.socket.bytesWritten;
        await connection.request({ type: "echo", content });
        return connection.socket.bytesWritten - before;
      };
      const plain = await echo();
      const { answer } = await ask(connection, { type: "hello", compression: ["deflate"] });
      const deflate = answer?.["compression"] === "deflate";
      connection.packing = { ...PLAIN, deflate, deflateFromBytes: 0 };
      const packed = await echo();
      note(`an echo of ${content.length} bytes: ${plain} on the wire, compressed ${packed}`);
      return packed < plain / 2;
    },
  },
  {
    title: "Authentication",
    about: "a server that wants a token answers nothing else before it",
    play: async ({ open, options, keep, ask, sent, got, note, check }) => {
      const { token, ...strange } = options;
      if (token === undefined) {
        const { answer } = await ask(await open(), { type: "auth", token: "any" });
        if (answer?.["status"] !== "authenticated") return false;
        note("this server wants no token: AUTH_TOKEN=secret server --protocol json would");
        return true;
      }
      const { code } = await ask(keep(await openConnection(strange)), { type: "ping" });
      const { code: wrong } = await ask(keep(await openConnection(strange)), {
        type: "auth",
        token: "a wrong one",
      });
      sent({ type: "auth", token: "(ours)" });
      const answer = await keep(await openConnection(strange)).request({ type: "auth", token });
      got(answer);
      check(answer, "auth");
      return code === "UNAUTHENTICATED" && wrong === "AUTHENTICATION_FAILED";
    },
  },
];

/** Writes bytes that may be no message, and gives the next bytes that come. */
async function answerTo(connection: ClientConnection, bytes: Buffer): Promise<Buffer> {
  const data = next(connection.socket, "data");
  connection.socket.write(bytes);
  return ((await data) as [Buffer])[0];
}

/** What the next event of this kind brings. Whoever waits for it is told when none comes; it is no crash before anybody waits. */
function next(emitter: EventEmitter, event: string): Promise<unknown[]> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const heard = once(emitter, event, { signal }).catch((error: unknown) => {
    throw signal.aborted ? new Error(`no ${event} within ${PATIENCE_MS} ms`) : error;
  });
  heard.catch(() => undefined);
  return heard;
}

function messageIn(frame: Buffer): Message {
  return JSON.parse(frame.subarray(4).toString()) as Message;
}

function hex(bytes: Buffer): string {
  return bytes.toString("hex").replaceAll(/(..)(?=.)/g, "$1 ");
}
