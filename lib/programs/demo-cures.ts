/** demo-cures: the scenes of the demo that show what the client does when the network or the server fails. */
import { once } from "node:events";
import { JsonClient } from "../protocol/json/client.ts";
import type { ConnectOptions } from "../protocol/json/connect.ts";
import { jsonPool } from "../protocol/json/pool.ts";
import { pauseUntil } from "../protocol/pause-until.ts";
import type { Asker, Scene, Stage } from "./demo.ts";
import { Relay } from "./relay.ts";

const SHORT_MS = 200;
const BREAKER = { failures: 3, halfOpenAfterMs: SHORT_MS };
const USES = 100;
const LENT = 4;

export const DEMO_CURES: readonly Scene[] = [
  {
    title: "A time-out",
    about: "every request has one; an answer that comes later does no harm",
    play: async (stage) => {
      const { relay, options } = await relayed(stage);
      const connection = await stage.open(options);
      const hasty: Asker = { request: (request) => connection.request(request, SHORT_MS) };
      relay.hold();
      stage.note("the network holds everything up");
      const { code } = await stage.ask(hasty, { type: "echo", content: "late" });
      relay.release();
      stage.note("the network goes on");
      const { answer } = await stage.ask(connection, { type: "echo", content: "in time" });
      return code === "REQUEST_TIMEOUT" && answer?.["content"] === "in time";
    },
  },
  {
    title: "A heartbeat",
    about: "a server that has vanished without FIN or RST is noticed by its silence",
    play: async (stage) => {
      const { relay, options } = await relayed(stage);
      const times = { heartbeatMs: SHORT_MS, heartbeatTimeoutMs: SHORT_MS };
      const connection = await stage.open({ ...options, ...times });
      const startMs = performance.now();
      const end = once(connection, "close", { signal: AbortSignal.timeout(5_000) });
      relay.hold();
      stage.note("the network swallows everything; nobody is told");
      const [error] = (await end) as [Error & { code?: string }];
      const afterMs = Math.round(performance.now() - startMs);
      stage.note(`${error.code} after ${afterMs} ms: ${SHORT_MS} of silence, ${SHORT_MS} more`);
      return error.code === "PEER_SILENT";
    },
  },
  {
    title: "Coming back",
    about: "a lost connection is made again, after waits that grow and are random",
    play: async (stage) => {
      const { relay, options } = await relayed(stage);
      const client = stage.keep(
        new JsonClient({ ...options, reconnect: { baseMs: 50, capMs: 500 } }),
      );
      client
        .on("disconnect", ({ message }) => stage.note(`lost: ${message}`))
        .on("reconnecting", ({ attempt, delayMs, error }) =>
          stage.note(`${error.message}: attempt ${attempt} in ${Math.round(delayMs)} ms`),
        )
        .on("connect", () => stage.note("connected"));
      await stage.ask(client, { type: "echo", content: "before" });
      await relay.stop();
      await once(client, "reconnecting", { signal: AbortSignal.timeout(5_000) });
      await relay.start();
      const { answer } = await stage.ask(client, { type: "echo", content: "after" });
      return answer?.["content"] === "after";
    },
  },
  {
    title: "A circuit breaker",
    about: "a server that keeps failing is left in peace for a while",
    play: async (stage) => {
      const { relay, options } = await relayed(stage);
      await relay.stop();
      const client = stage.keep(new JsonClient({ ...options, reconnect: false, breaker: BREAKER }));
      const codes = [];
      for (let failure = 0; failure <= BREAKER.failures; failure += 1)
        codes.push((await stage.ask(client, { type: "ping" })).code);
      await relay.start();
      stage.note("the server is back; one request is let through after a while");
      await pauseUntil(performance.now() + BREAKER.halfOpenAfterMs);
      const { answer } = await stage.ask(client, { type: "ping" });
      return codes.at(-1) === "CIRCUIT_OPEN" && answer !== undefined;
    },
  },
  {
    title: "A pool",
    about: "connections that are lent and given back, instead of made and thrown away",
    play: async ({ options, keep, note }) => {
      const pool = keep(jsonPool(options, { max: LENT }));
      const answers = await Promise.all(
        Array.from({ length: USES }, (_, index) =>
          pool.use((connection) => connection.request({ type: "echo", content: `${index}` })),
        ),
      );
      note(`${USES} pieces of work, ${pool.created} connections made`);
      const areRight = answers.every(({ content }, index) => content === `${index}`);
      return areRight && pool.created <= LENT;
    },
  },
];

/** A network of our own between us and the server, and how to connect through it. */
async function relayed({
  options,
  keep,
}: Stage): Promise<{ relay: Relay; options: ConnectOptions }> {
  const { host = "127.0.0.1", port } = options;
  const relay = keep(new Relay({ host, port }));
  await relay.start();
  return { relay, options: { ...options, host: "127.0.0.1", port: relay.port } };
}
