/** A server with a token and a message type of its own; a client with a circuit breaker, which finds it gone in the end. */
import { ClientError, createJsonServer, JsonClient } from "../../lib/protocol/index.ts";

const server = createJsonServer({
  authToken: "secret",
  handlers: { add: ({ a, b }) => ({ type: "sum", value: Number(a) + Number(b) }) },
});
const { port } = await server.listen({ port: 0 });

await using client = new JsonClient({
  port,
  token: "secret",
  compression: true,
  reconnect: false,
  breaker: { failures: 2, halfOpenAfterMs: 1_000 },
});
console.log(await client.request({ type: "add", a: 20, b: 3 }));
await server.close();

for (let attempt = 1; attempt <= 3; attempt += 1)
  await client.ping().catch((error: unknown) => {
    if (error instanceof ClientError) console.log(attempt, error.code);
    else console.log(attempt, String(error));
  });
