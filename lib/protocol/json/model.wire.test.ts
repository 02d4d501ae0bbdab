/**
 * The server against a model of it: whatever clients do, in whatever order, each gets what docs/reference/protocol.md promises, in order and
 * nothing else; and what the server has counted at the end is what they did.
 */
import { connect } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { expect, it } from "vitest";
import { until } from "../../testing/programs.ts";
import { framed, rawPeer, type RawPeer } from "../../testing/raw-peer.ts";
import { createJsonServer, type JsonServer } from "./server.ts";

const LIMITS = { maxFrameBytes: 65_536, maxErrorsInARow: 2, maxConnections: 3 };

/** A client that is connected, and what it still has to be told. */
type Member = {
  readonly peer: number;
  readonly answers: object[];
  readonly broadcasts: string[];
  errorsInARow: number;
  isReading: boolean;
};

type Counts = Record<string, number>;
type Model = {
  members: Member[];
  messages: number;
  readonly errors: Counts;
  readonly closed: Counts;
};
type Real = { readonly server: JsonServer; readonly port: number; readonly peers: RawPeer[] };
type Command = fc.AsyncCommand<Model, Real>;

/** Bytes that are no request, and the code that they get. */
const MISTAKES = {
  BAD_JSON: framed("{nope"),
  BAD_UTF8: framed(Buffer.from("c328", "hex")),
  NOT_AN_OBJECT: framed("[]"),
  FRAME_EMPTY: Buffer.alloc(4),
  TYPE_MISSING: framed('{"__proto__":{"type":"ping"}}'),
  UNKNOWN_TYPE: framed('{"type":"ping","type":"toString"}'),
  BAD_FIELD: framed({ type: "echo", content: ["deep"] }),
} as const;

function add(counts: Counts, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

/** What has happened at all. */
function counted(counts: ReadonlyMap<string, number>): Counts {
  return Object.fromEntries([...counts].filter(([, count]) => count > 0));
}

function peerOf({ peers }: Real, { peer }: Member): RawPeer {
  return peers[peer] ?? expect.fail("no such peer");
}

/** Writes bytes in two pieces. */
async function write(real: Real, member: Member, bytes: Buffer, cut: number): Promise<void> {
  const { socket } = peerOf(real, member);
  const at = cut % bytes.length;
  socket.write(bytes.subarray(0, at));
  await turn();
  socket.write(bytes.subarray(at));
}

/** Whoever reads gets all that was promised, answers and broadcasts each in their order. */
async function hear(real: Real, member: Member): Promise<void> {
  if (!member.isReading) return;
  const peer = peerOf(real, member);
  while (member.answers.length + member.broadcasts.length > 0) {
    const message = await peer.next();
    const expected =
      message?.["type"] === "broadcast_message"
        ? { content: member.broadcasts.shift() }
        : member.answers.shift();
    expect(message).toMatchObject(expected ?? {});
  }
}

/** Its last words and its end; the server knows of it, too. */
async function part(model: Model, real: Real, member: Member, reason: string): Promise<void> {
  await hear(real, member);
  if (reason !== "lost") expect(await peerOf(real, member).next()).toBeUndefined();
  add(model.closed, reason);
  model.members = model.members.filter((other) => other !== member);
  await until(real.server.clients, (clients) => clients === model.members.length);
}

async function refuse(model: Model, real: Real, member: Member, code: string): Promise<void> {
  add(model.errors, code);
  member.answers.push({ type: "error", code, closes: true });
  await part(model, real, member, code);
}

/** Something that one of the members does, if there is one that may. */
function byMember(
  name: string,
  pick: number,
  run: (model: Model, real: Real, member: Member) => Promise<void>,
  mayBeSlow = false,
): Command {
  const chosen = ({ members }: Model): Member | undefined => {
    const able = members.filter(({ isReading }) => isReading || mayBeSlow);
    return able[pick % Math.max(1, able.length)];
  };
  return {
    check: (model) => chosen(model) !== undefined,
    run: (model, real) => run(model, real, chosen(model) ?? expect.fail("nobody")),
    toString: () => `${name} by ${pick}`,
  };
}

const join = (): Command => ({
  check: () => true,
  run: async (model, real) => {
    const peer = await rawPeer(real.port, connect({ port: real.port, noDelay: true }));
    real.peers.push(peer);
    const common = { answers: [], broadcasts: [], errorsInARow: 0, isReading: true };
    const member: Member = { ...common, peer: real.peers.length - 1 };
    model.members.push(member);
    if (model.members.length > LIMITS.maxConnections)
      await refuse(model, real, member, "TOO_MANY_CONNECTIONS");
    else await until(real.server.clients, (clients) => clients === model.members.length);
  },
  toString: () => "join",
});

const ask = ([pick, count, bytes, cut]: readonly [number, number, number, number]): Command =>
  byMember(
    `${count} echoes of ${bytes} bytes, cut at ${cut},`,
    pick,
    async (model, real, member) => {
      const echoes = Array.from({ length: count }, (_, id) => ({ id, content: "é".repeat(bytes) }));
      const frames = echoes.map((echo) => framed({ type: "echo", ...echo }));
      member.answers.push(...echoes.map((echo) => ({ type: "echo_response", ...echo })));
      member.errorsInARow = 0;
      model.messages += count;
      await write(real, member, Buffer.concat(frames), cut);
      await hear(real, member);
    },
    true,
  );

const broadcast = ([pick, content]: readonly [number, string]): Command =>
  byMember(`broadcast of ${JSON.stringify(content)}`, pick, async (model, real, member) => {
    const others = model.members.filter((other) => other !== member);
    for (const other of others) other.broadcasts.push(content);
    member.answers.push({ type: "broadcast_sent", recipients: others.length });
    member.errorsInARow = 0;
    model.messages += 1;
    await write(real, member, framed({ type: "broadcast", content }), 0);
    for (const one of model.members) await hear(real, one);
  });

const mistake = ([pick, code, cut]: readonly [number, keyof typeof MISTAKES, number]): Command =>
  byMember(code, pick, async (model, real, member) => {
    member.answers.push({ type: "error", code, closes: false });
    member.errorsInARow += 1;
    model.messages += 1;
    add(model.errors, code);
    await write(real, member, MISTAKES[code], cut);
    if (member.errorsInARow > LIMITS.maxErrorsInARow)
      await refuse(model, real, member, "TOO_MANY_ERRORS");
    else await hear(real, member);
  });

const oversize = ([pick, length]: readonly [number, number]): Command =>
  byMember(`a length of ${length}`, pick, async (model, real, member) => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(length);
    await write(real, member, Buffer.concat([header, framed({ type: "ping" })]), 2);
    await refuse(model, real, member, "FRAME_TOO_LARGE");
  });

const stats = (pick: number): Command =>
  byMember("statistics", pick, async (model, real, member) => {
    // What was asked by whoever does not read may not have been read either.
    const isKnown = model.members.every(({ isReading }) => isReading);
    model.messages += 1;
    member.errorsInARow = 0;
    const total = isKnown ? { total_messages: model.messages } : {};
    member.answers.push({ connected_clients: model.members.length, ...total });
    await write(real, member, framed({ type: "get_stats" }), 5);
    await hear(real, member);
  });

const leave = ([pick, way]: readonly [number, "peer" | "cut" | "lost"]): Command =>
  byMember(way, pick, async (model, real, member) => {
    const { socket } = peerOf(real, member);
    if (way === "lost") socket.resetAndDestroy();
    else socket.end(way === "cut" ? framed({ type: "ping" }).subarray(0, 7) : "");
    await part(model, real, member, way);
  });

const rest = (pick: number): Command =>
  byMember("stops reading, or begins again", pick, toggleReading, true);

async function toggleReading(_model: Model, real: Real, member: Member): Promise<void> {
  const { socket } = peerOf(real, member);
  member.isReading = !member.isReading;
  if (member.isReading) socket.resume();
  else socket.pause();
  await hear(real, member);
}

/** All get what they were promised, a good-bye, and a FIN. */
async function shutDown(model: Model, real: Real): Promise<void> {
  const { members } = model;
  // How much of what was asked by whoever does not read has arrived nobody knows.
  for (const member of members) if (!member.isReading) await toggleReading(model, real, member);
  const closing = real.server.close({ drainMs: 10_000 });
  for (const member of members) {
    member.answers.push({ code: "SHUTTING_DOWN" });
    add(model.errors, "SHUTTING_DOWN");
  }
  await Promise.all(members.map((member) => part(model, real, member, "SHUTTING_DOWN")));
  expect(await closing).toEqual({ clients: members.length, cutOff: 0 });
}

const member = fc.nat(LIMITS.maxConnections - 1);
const cut = fc.nat(4_000);
const code = fc.constantFrom(...(Object.keys(MISTAKES) as (keyof typeof MISTAKES)[]));
const aMistake = fc.tuple(member, code, cut).map(mistake);
const COMMANDS = [
  fc.constant(join()),
  fc.tuple(member, fc.integer({ min: 1, max: 23 }), fc.nat(100), cut).map(ask),
  fc.tuple(member, fc.integer({ min: 1, max: 230 }), fc.constant(30_000), cut).map(ask),
  fc.tuple(member, fc.string({ unit: "grapheme" })).map(broadcast),
  aMistake,
  aMistake,
  fc.tuple(member, fc.constantFrom(65_537, 0x4854_5450, 0x7fff_ffff, 0xffff_ffff)).map(oversize),
  fc.tuple(member, fc.constantFrom("peer", "cut", "lost")).map(leave),
  member.map(stats),
  member.map(rest),
];

it("keeps to the model, whatever clients do in whatever order", async () => {
  const property = fc.asyncProperty(
    fc.commands(COMMANDS, { maxCommands: 50 }),
    async (commands) => {
      const server = createJsonServer(LIMITS);
      const { port } = await server.listen({ port: 0 });
      const model: Model = { members: [], messages: 0, errors: {}, closed: {} };
      const real: Real = { server, port, peers: [] };
      try {
        await fc.asyncModelRun(() => ({ model, real }), commands);
        await shutDown(model, real);
        expect(counted(server.tally.closed)).toEqual(model.closed);
        expect(counted(server.tally.errors)).toEqual(model.errors);
        expect(server.tally.messages).toBe(model.messages);
      } finally {
        for (const peer of real.peers) peer.destroy();
        await server.close({ drainMs: 0 });
      }
    },
  );
  await fc.assert(property, { seed: 23, numRuns: 46 });
}, 60_000);
