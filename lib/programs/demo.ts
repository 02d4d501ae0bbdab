/**
 * demo: everything that the protocol and its client can do, against a server that runs. Each step says what was sent, what came
 * back, and whether this is what docs/reference/protocol.md promises.
 */
import type { ClientConnection } from "../protocol/json/client-connection.ts";
import { RemoteError } from "../protocol/json/client-errors.ts";
import { openConnection, type ConnectOptions } from "../protocol/json/connect.ts";
import type { Message } from "../protocol/json/messages.ts";
import { DEMO_CURES } from "./demo-cures.ts";
import { DEMO_MESSAGES } from "./demo-messages.ts";
import { brokenPromise } from "./demo-promises.ts";
import { connectOptions, told, type Server } from "./json-client.ts";

/** One line of a step. */
export type DemoLine = {
  readonly kind: "sent" | "got" | "note";
  /** JSON, or the hexadecimal digits of bytes, or words. */
  readonly text: string;
};

/** What a step has shown. */
export type DemoStep = {
  readonly title: string;
  readonly about: string;
  readonly lines: readonly DemoLine[];
  /** Did everything go as documented? */
  readonly held: boolean;
};

/** What a scene needs to play. */
export type Stage = {
  readonly options: ConnectOptions;
  /** A connection that is ended after the scene. */
  readonly open: (options?: Partial<ConnectOptions>) => Promise<ClientConnection>;
  /** Something else to be ended after the scene. */
  readonly keep: <T extends AsyncDisposable>(thing: T) => T;
  readonly sent: (what: unknown) => void;
  readonly got: (what: unknown) => void;
  readonly note: (text: string) => void;
  /** Notes what about a message of the server's is not as documented; `request` is the type that it answers. Then the scene has not held. */
  readonly check: (message: Message, request?: string) => void;
  /** Asks and tells both; an error is an answer, too. */
  readonly ask: (connection: Asker, request: Message) => Promise<Outcome>;
};

/** Whatever can be asked. */
export type Asker = { readonly request: (request: Message) => Promise<Message> };
/** An answer, or the code of the error that came instead. */
export type Outcome = { readonly answer?: Message; readonly code?: string | undefined };

/** One step before it was played. `play` says whether everything went as documented. */
export type Scene = {
  readonly title: string;
  readonly about: string;
  readonly play: (stage: Stage) => Promise<boolean>;
};

const KNOCK_MS = 5_000;
/** It does not speak with us: no scene would show more. */
const REFUSED: ReadonlySet<string> = new Set(["CONNECTION_CLOSED", "UNAUTHENTICATED", "SENT_BACK"]);

/** Plays every scene. Rejects when there is no connection at all, with its errno or TFL_NEEDS. */
export async function* demo(server: Server, signal: AbortSignal): AsyncGenerator<DemoStep> {
  const options = connectOptions(server);
  await knock(options).catch((error: unknown) => {
    throw told(error as Error, options);
  });
  for (const scene of [...DEMO_MESSAGES, ...DEMO_CURES]) {
    if (signal.aborted) return;
    yield await played(scene, options);
  }
}

/** Is there anybody who speaks our language? Rejects when there is no connection, when it ends at the first message or that comes back, or when the server wants a token first. */
async function knock(options: ConnectOptions): Promise<void> {
  const connection = await openConnection(options);
  try {
    await connection.request({ type: "ping" }, KNOCK_MS);
  } catch (error) {
    // Any other answer, or none, is for the scenes to show.
    if (REFUSED.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    await connection.close();
  }
}

async function played(scene: Scene, options: ConnectOptions): Promise<DemoStep> {
  const { title, about } = scene;
  const lines: DemoLine[] = [];
  const kept: AsyncDisposable[] = [];
  let isBroken = false;
  const blame = (why: string): void => {
    isBroken = true;
    stage.note(`not as documented: ${why}`);
  };
  const stage = stageFor(options, { lines, kept, blame });
  try {
    const held = await scene.play(stage);
    return { title, about, lines, held: held && !isBroken };
  } catch (error) {
    blame((error as Error).message);
    return { title, about, lines, held: false };
  } finally {
    for (const thing of kept.reverse()) await thing[Symbol.asyncDispose]();
  }
}

/** Where what happens on a stage is kept. */
type Wings = {
  readonly lines: DemoLine[];
  readonly kept: AsyncDisposable[];
  /** Told what is not as documented. */
  readonly blame: (why: string) => void;
};

function stageFor(options: ConnectOptions, { lines, kept, blame }: Wings): Stage {
  const say = (kind: DemoLine["kind"]) => (what: unknown) => {
    lines.push({ kind, text: typeof what === "string" ? what : JSON.stringify(what) });
  };
  const stage: Stage = {
    options,
    open: async (more = {}) => stage.keep(await openConnection({ ...options, ...more })),
    keep: (thing) => {
      kept.push(thing);
      return thing;
    },
    sent: say("sent"),
    got: say("got"),
    note: say("note"),
    check: (message, request) => {
      const why = brokenPromise(message, request);
      if (why !== undefined) blame(why);
    },
    ask: async (connection, request) => {
      stage.sent(request);
      try {
        const answer = await connection.request(request);
        stage.got(answer);
        stage.check(answer, request.type);
        return { answer };
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        // What the server has sent came over the wire; whatever else went wrong is what we say of it.
        if (error instanceof RemoteError) {
          const refusal = { type: "error", code, message, closes: error.closes };
          stage.got(refusal);
          stage.check(refusal);
        } else stage.note(`${code}: ${message}`);
        return { code };
      }
    },
  };
  return stage;
}
