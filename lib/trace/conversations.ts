/**
 * conversations: which packets and which calls belong to one connection, or to one exchange of datagrams, and to which side of it.
 */
import { isBoundTo } from "../sockets/listener.ts";
import type { SocketCall, SocketLife } from "./descriptors.ts";
import { endpointText } from "../sockets/endpoint.ts";
import { isSameEnd } from "./endpoints.ts";
import { otherSide, type Side, type SidedPacket } from "./states.ts";
import type { Packet, PacketEnd } from "./tcpdump.ts";

/** Two ends; the client is the one that began. */
export type Conversation = {
  readonly protocol: "tcp" | "udp";
  readonly client: PacketEnd;
  readonly server: PacketEnd;
};

/** A call with its side of a conversation. */
export type SidedCall = SocketCall & { readonly side: Side };

/** A conversation with all that was seen of it, each list in the order of time. */
export type Gathered = Conversation & {
  readonly packets: readonly SidedPacket[];
  /** Looked for when it is first asked for: of many conversations one is shown, and a listener's calls belong to all of them. */
  readonly calls: readonly SidedCall[];
};

/** Sorts packets and calls by conversation, in the order in which those began. */
export function gather(packets: readonly Packet[], calls: readonly SocketCall[]): Gathered[] {
  const found = conversationsIn(packets, calls);
  const byEnds = new Map(found.map((one) => [pairKey(one.protocol, one.client, one.server), one]));
  for (const packet of packets)
    byEnds.get(pairKey(packet.protocol, packet.from, packet.to))?.add(packet);
  const owners = namelessClients(found, calls);
  return found.map(({ conversation, packets }) => {
    let own: readonly SidedCall[] | undefined;
    return {
      ...conversation,
      packets,
      get calls() {
        return (own ??= callsOf(conversation, calls, owners));
      },
    };
  });
}

/** Those that the traced programs had a part in come first: in a network with strangers the others are theirs. */
export function ownFirst(found: readonly Gathered[], calls: readonly SocketCall[]): Gathered[] {
  const own = new Set(
    calls.flatMap(({ life: { protocol, local, remote }, peer }) => {
      const other = remote ?? peer;
      return local === undefined || other === undefined ? [] : [pairKey(protocol, local, other)];
    }),
  );
  const isOwn = ({ protocol, client, server }: Gathered): boolean =>
    own.has(pairKey(protocol, client, server));
  return [...found.filter(isOwn), ...found.filter((one) => !isOwn(one))];
}

function callsOf(
  conversation: Conversation,
  calls: readonly SocketCall[],
  owners: ReadonlyMap<SocketLife, Conversation>,
): readonly SidedCall[] {
  return calls.flatMap((call) => {
    const side = sideOf(call, conversation, owners);
    return side === undefined ? [] : [{ ...call, side }];
  });
}

class Found {
  readonly conversation: Conversation;
  readonly packets: SidedPacket[] = [];

  constructor(conversation: Conversation) {
    this.conversation = conversation;
  }

  get protocol(): "tcp" | "udp" {
    return this.conversation.protocol;
  }
  get client(): PacketEnd {
    return this.conversation.client;
  }
  get server(): PacketEnd {
    return this.conversation.server;
  }

  add(packet: Packet): void {
    const from = isSameEnd(packet.from, this.client) ? "client" : "server";
    this.packets.push({ from, packet });
  }
}

/** The same for both directions. */
function pairKey(protocol: string, one: PacketEnd, other: PacketEnd): string {
  return [protocol, ...[endpointText(one), endpointText(other)].sort()].join(" ");
}

function conversationsIn(packets: readonly Packet[], calls: readonly SocketCall[]): Found[] {
  const found = new Map<string, Found>();
  const add = (protocol: "tcp" | "udp", client: PacketEnd, server: PacketEnd): void => {
    const key = pairKey(protocol, client, server);
    if (!found.has(key)) found.set(key, new Found({ protocol, client, server }));
  };
  const lives = new Set(calls.map(({ life }) => life));
  // A capture may begin in the middle: then accept() tells who the client is, if it was seen.
  const accepted = new Set([...lives].map(acceptedKey));
  for (const { protocol, from, to, flags } of packets) {
    const isAnswer = flags.includes("SYN") && flags.includes("ACK");
    if (isAnswer || accepted.has(directionKey(from, to))) add(protocol, to, from);
    else add(protocol, from, to);
  }
  for (const life of lives) {
    const { protocol, local, remote, origin } = life;
    // Without a capture nothing else is known of a connection that never came about.
    if (packets.length === 0 && remote !== undefined && isNameless(life))
      add(protocol, UNKNOWN, remote);
    if (local === undefined || remote === undefined) continue;
    if (origin === "accept") add(protocol, remote, local);
    else add(protocol, local, remote);
  }
  return [...found.values()];
}

/** From the server to the client; undefined for a socket that did not come out of accept(). */
function acceptedKey({ origin, local, remote }: SocketLife): string | undefined {
  if (origin !== "accept" || local === undefined || remote === undefined) return undefined;
  return directionKey(local, remote);
}

function directionKey(from: PacketEnd, to: PacketEnd): string {
  return `${endpointText(from)} ${endpointText(to)}`;
}

/** The client's end where neither a packet nor strace tells it. */
const UNKNOWN: PacketEnd = { address: "unknown", port: 0 };

function isNameless({ local, remote, origin }: SocketLife): boolean {
  return local === undefined && remote !== undefined && origin === "connect";
}

/**
 * A connection that was refused never gets a name that strace could show. Its SYN left while connect() was under way, so that is
 * how the two are brought together.
 */
function namelessClients(
  found: readonly Found[],
  calls: readonly SocketCall[],
): ReadonlyMap<SocketLife, Conversation> {
  const owners = new Map<SocketLife, Conversation>();
  const nameless = calls.filter(({ life }) => isNameless(life));
  for (const { conversation, packets } of found) {
    if (conversation.client === UNKNOWN)
      for (const { life } of nameless) owners.set(life, conversation);
    const syn = packets[0]?.packet;
    if (syn?.flags.includes("SYN") !== true) continue;
    const owner = nameless.find(
      ({ call, life }) =>
        call.name === "connect" &&
        life.remote !== undefined &&
        isSameEnd(life.remote, conversation.server) &&
        call.beginNs <= syn.atNs &&
        (call.doneByNs === undefined || syn.atNs <= call.doneByNs),
    );
    if (owner !== undefined) owners.set(owner.life, conversation);
  }
  return owners;
}

function sideOf(
  call: SocketCall,
  conversation: Conversation,
  owners: ReadonlyMap<SocketLife, Conversation>,
): Side | undefined {
  const { life } = call;
  if (life.protocol !== conversation.protocol) return undefined;
  if (owners.get(life) === conversation) return "client";
  return SIDES.find((side) => isAt(call, conversation, side));
}

const SIDES = ["client", "server"] as const;

/** Is the call's socket this side's, or the listener behind it? */
function isAt({ life, peer, call }: SocketCall, conversation: Conversation, side: Side): boolean {
  const [here, there] = [conversation[side], conversation[otherSide(side)]];
  const { local, remote, protocol, isListener } = life;
  if (local === undefined || !isBoundTo(local, here)) return false;
  if (remote !== undefined) return isSameEnd(remote, there);
  // A listener's calls concern every conversation, but its accept() only the one that it gave.
  if (protocol === "tcp") return isListener && side === "server" && !call.name.startsWith("accept");
  return peer === undefined || call.name === "bind" || isSameEnd(peer, there);
}
