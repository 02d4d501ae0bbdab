/** A hundred requests at once over four connections, to a server on port 9999. */
import { jsonPool } from "../../lib/protocol/index.ts";

await using pool = jsonPool({ port: 9_999 }, { max: 4 });
const echoes = Array.from({ length: 100 }, (_, index) =>
  pool.use((connection) => connection.request({ type: "echo", content: `${index}` })),
);
const answers = await Promise.all(echoes);
console.log(`${answers.length} answers, ${pool.created} connections made`);
