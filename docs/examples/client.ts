/** Every kind of message, to a server on port 9999. */
import { JsonClient, RemoteError } from "../../lib/protocol/index.ts";

await using client = new JsonClient({ port: 9_999 });
await using listener = new JsonClient({ port: 9_999 });
const heard = new Promise((resolve) => listener.once("broadcast", resolve));
await listener.connect();

console.log(await client.ping());
console.log(await client.echo("Hello TCP Server!"));
console.log(await client.broadcast("Message to all clients"), "other client(s):", await heard);
console.log(await client.stats());
try {
  await client.request({ type: "custom_type", data: "value" });
} catch (error) {
  if (!(error instanceof RemoteError)) throw error;
  console.log(error.code, error.message);
}
