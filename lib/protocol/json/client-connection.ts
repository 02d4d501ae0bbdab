/**
 * client-connection: one connection from the client's side: a promise for each request, answers found by their ids.
 *
 * What is asked within one turn goes out in one write. When the connection ends every open request is rejected: none is ever sent a
 * second time, for nobody knows whether the first was carried out. Reconnecting is the business of client.ts.
 */
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { ClientError, RemoteError } from "./client-errors.ts";
import { CONNECTION_LIMITS, type ConnectionLimits } from "./client-limits.ts";
import { FrameDecoder } from "./frames.ts";
import {
  decodeMessage,
  encodeText,
  mayAnswer,
  type BroadcastDelivery,
  type ErrorMessage,
  type Message,
  type Packing,
  type ResponseTo,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import type { Custom, Outgoing, Prepared } from "./outgoing.ts";
import { tell } from "./tell.ts";
import { everyTick } from "./ticker.ts";
import { usualUnless } from "./usual.ts";

/** What a client may tell its user of, beside answers. */
export type ConnectionEvents = {
  /** What another client has sent to all. */
  broadcast: [BroadcastDelivery];
  /** The server says why it is about to close. */
  refused: [ErrorMessage];
  /** Anything else that nobody has asked for. */
  message: [Message];
  /** The end; without an error when it was ours. */
  close: [Error | undefined];
};

type Pending = {
  readonly type: string;
  readonly resolve: (answer: Message) => void;
  readonly reject: (error: Error) => void;
  readonly deadlineMs: number;
};

/** After the last answer: for so long the server may take to read what is left, and to send its FIN. */
const LINGER_MS = 1_000;

/** One connection, from its handshake to its end; `openConnection` makes one. It does not come back. */
export class ClientConnection extends EventEmitter<ConnectionEvents> implements AsyncDisposable {
  readonly socket: Socket;
  readonly #limits: ConnectionLimits;
  readonly #decoder: FrameDecoder;
  #packing: Packing;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** How many of these are heartbeats of ours. */
  #beats = 0;
  #outbox: Outbox | undefined;
  #heardMs = performance.now();
  /** When a sign of life was asked for; 0 when it has come. */
  #pingedMs = 0;
  #isClosing = false;
  /** When our end began; 0 before. */
  #leftMs = 0;
  #isClosed = false;
  /** Resolves with the end, whatever listeners do. */
  readonly #gone: Promise<void>;
  #markGone = (): void => undefined;
  /** Does the peer answer with ids? Then what has none is no answer. */
  #peerHasIds = false;
  /** The peer's address, as our pongs name it; undefined before the first. */
  #peer: string | undefined;
  /** Types of requests whose time was over: without an id nobody can tell their late answers from those of others. */
  readonly #late = new Set<string>();
  #error: Error | undefined;
  readonly #stopTicking: () => void;

  constructor(socket: Socket, packing: Packing, limits: Partial<ConnectionLimits> = {}) {
    super();
    this.socket = socket;
    this.#limits = usualUnless(CONNECTION_LIMITS, limits);
    this.#decoder = new FrameDecoder(packing.maxFrameBytes);
    this.#packing = packing;
    this.#gone = new Promise((resolve) => (this.#markGone = resolve));
    this.#stopTicking = everyTick((now) => this.#look(now));
    socket
      .on("data", (chunk: Buffer) => this.#receive(chunk))
      .on("drain", () => this.#flush())
      .on("error", (error) => (this.#error ??= error))
      .on("end", () => this.#waitForEnd())
      .on("close", () => this.#end());
  }

  /** Requests that wait for their answers. */
  get inFlight(): number {
    return this.#pending.size - this.#beats;
  }

  /** Can it still be asked? Not when the server has said that it closes. */
  get isOpen(): boolean {
    const { writable } = this.socket;
    return !this.#isClosing && !this.#isClosed && writable && this.#error === undefined;
  }

  /** From now on messages may be compressed; after hello that goes without saying. */
  set packing(packing: Packing) {
    this.#packing = packing;
  }

  /**
   * Asks, and resolves with the answer. Rejects with RemoteError when the answer is an error, with ClientError when there is none, and
   * with TypeError what JSON has no words for.
   */
  request<T extends keyof ResponseTo>(
    message: Outgoing<T> & { readonly type: T },
    timeoutMs?: number,
  ): Promise<ResponseTo[T]>;
  request(message: Custom, timeoutMs?: number): Promise<Message>;
  request(message: Custom, timeoutMs = this.#limits.requestTimeoutMs): Promise<Message> {
    return this.#ask(message, timeoutMs);
  }

  /** The same with a request that has been made ready by prepare(), to be sent many times. */
  requestPrepared(message: Prepared, timeoutMs = this.#limits.requestTimeoutMs): Promise<Message> {
    return this.#ask(message, timeoutMs, message.text);
  }

  /** Sends without waiting for anything. */
  send(message: Custom): void {
    this.#write(JSON.stringify(message));
  }

  #ask(message: Custom, timeoutMs: number, prepared?: string): Promise<Message> {
    if (!this.isOpen) return Promise.reject(this.#error ?? new ClientError("CONNECTION_CLOSED"));
    if (this.inFlight >= this.#limits.maxInFlight)
      return Promise.reject(new ClientError("IN_FLIGHT_LIMIT", `${this.inFlight}`));
    return new Promise((resolve, reject) => {
      const text = prepared ?? JSON.stringify(message);
      const deadlineMs = performance.now() + timeoutMs;
      this.#enter({ type: message.type, resolve, reject, deadlineMs }, text);
    });
  }

  #enter(pending: Pending, text: string): void {
    const id = this.#nextId++;
    this.#pending.set(id, pending);
    this.#write(`${text.slice(0, -1)},"id":${id}}`);
  }

  /** Asks for a sign of life. As a request, so that nobody else gets the answer; but no limit is for it, and close() does not wait. */
  #beat(deadlineMs: number): void {
    const done = (): void => void (this.#beats -= 1);
    this.#beats += 1;
    this.#enter({ type: "ping", resolve: done, reject: done, deadlineMs }, '{"type":"ping"}');
  }

  #write(text: string): void {
    if (this.#outbox === undefined) {
      this.#outbox = new Outbox();
      // After all that goes on in this turn: many requests are one write.
      queueMicrotask(() => this.#flush());
    }
    const { deflate, deflateFromBytes } = this.#packing;
    const isPacked = deflate && text.length >= deflateFromBytes;
    this.#outbox.add(isPacked ? encodeText(text, this.#packing) : text);
  }

  /** Waits for the answers under way, then says good-bye. Resolves when the connection is gone. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#leaveWhenDone();
    await this.#gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Ends at once; open requests are rejected with the error. */
  destroy(error?: Error): void {
    this.#error ??= error;
    this.socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#heardMs = performance.now();
    this.#pingedMs = 0;
    this.#decoder.push(chunk);
    for (let message = this.#next(); message !== undefined; message = this.#next())
      this.#take(message);
    this.#leaveWhenDone();
  }

  #next(): Message | undefined {
    try {
      const frame = this.#decoder.next();
      return frame === undefined ? undefined : decodeMessage(frame, this.#packing);
    } catch (error) {
      this.destroy(error as Error); // What comes after bytes that are no message cannot be trusted.
      return undefined;
    }
  }

  #take(message: Message): void {
    const { type, id } = message;
    if (type === "ping") this.#pong(message);
    else if (type === "broadcast_message") tell(() => this.emit("broadcast", message as never));
    else {
      const isLast = type === "error" && message["closes"] === true;
      if (isLast) this.#takeLeave(message);
      if (isLast && id === undefined) tell(() => this.emit("refused", message as never));
      else this.#settle(message);
    }
  }

  #settle(message: Message): void {
    const key = this.#keyOf(message);
    const pending = key === undefined ? undefined : this.#pending.get(key);
    if (key === undefined || pending === undefined) {
      // One of our numbers, and nobody waits: the answer to a request whose time was over, most likely.
      if (typeof message.id !== "number") tell(() => this.emit("message", message));
      return;
    }
    if (message.id === undefined && [...this.#late].some((late) => mayAnswer(message.type, late))) {
      this.destroy(new ClientError("CONNECTION_CLOSED", "an answer without id may be a late one"));
      return;
    }
    this.#pending.delete(key);
    if (message.id !== undefined) this.#peerHasIds = true;
    // What follows in the same chunk may be compressed already.
    if (pending.type === "hello" && message["compression"] === "deflate")
      this.#packing = { ...this.#packing, deflate: true };
    if (this.#isEcho(message, pending)) pending.reject(new ClientError("SENT_BACK"));
    else if (message.type === "error") pending.reject(new RemoteError(message));
    else pending.resolve(message);
  }

  /** Peers without ids answer in order: an answer belongs to the oldest request of its kind, an error to the oldest of all. */
  #keyOf({ id, type }: Message): number | undefined {
    if (id !== undefined || this.#peerHasIds) return typeof id === "number" ? id : undefined;
    for (const [key, pending] of this.#pending) if (mayAnswer(type, pending.type)) return key;
    return undefined;
  }

  /** Our own request; or our own pong, since a ping that comes back is answered like any other: a server's would name our address, not its own. */
  #isEcho({ type, client_id: client }: Message, { type: request }: Pending): boolean {
    if (type === request) return !mayAnswer(type, request);
    return type === "pong" && client !== undefined && client === this.#peer;
  }

  #pong({ timestamp, id }: Message): void {
    // A peer that does not read gets no more of them: they would pile up.
    if (this.socket.writableNeedDrain) return;
    this.#peer ??= `${this.socket.remoteAddress}:${this.socket.remotePort}`;
    this.send({
      type: "pong",
      ...(id === undefined ? {} : { id }),
      ping_timestamp: timestamp ?? null,
      pong_timestamp: new Date().toISOString(),
      client_id: this.#peer,
    });
  }

  #flush(): void {
    const { socket } = this;
    if (this.#outbox === undefined || socket.writableNeedDrain || !socket.writable) return;
    this.#outbox.writeTo(socket);
    this.#outbox = undefined;
    this.#leaveWhenDone();
  }

  #leaveWhenDone(): void {
    if (!this.#isClosing || this.inFlight > 0) return;
    this.#waitForEnd();
    if (this.#outbox === undefined && !this.socket.writableEnded) this.socket.end();
  }

  /** The server's last words: it answers nothing more, and is about to send its FIN. */
  #takeLeave(message: Message): void {
    this.#error ??= new RemoteError(message);
    this.#waitForEnd();
  }

  /** From now on the peer is all that we wait for, be it to read what is left or to end: not for ever. */
  #waitForEnd(): void {
    if (this.#leftMs === 0) this.#leftMs = performance.now();
  }

  #look(now: number): void {
    for (const [id, { deadlineMs, reject, type }] of this.#pending) {
      if (now < deadlineMs) continue;
      this.#pending.delete(id);
      this.#late.add(type);
      reject(new ClientError("REQUEST_TIMEOUT", type));
    }
    this.#leaveWhenDone();
    if (this.#leftMs > 0 && now - this.#leftMs >= LINGER_MS) this.socket.destroy();
    const { heartbeatMs, heartbeatTimeoutMs } = this.#limits;
    if (heartbeatMs === 0 || now - this.#heardMs < heartbeatMs) return;
    if (this.#pingedMs === 0) {
      this.#pingedMs = now;
      this.#beat(now + heartbeatTimeoutMs);
    } else if (now - this.#pingedMs >= heartbeatTimeoutMs)
      this.destroy(new ClientError("PEER_SILENT", `for ${Math.round(now - this.#heardMs)} ms`));
  }

  #end(): void {
    this.#isClosed = true;
    this.#stopTicking();
    const error = this.#error;
    for (const { reject } of this.#pending.values())
      reject(error ?? new ClientError("CONNECTION_CLOSED"));
    this.#pending.clear();
    this.#markGone();
    const wasOurs = this.#isClosing && error === undefined;
    const reason = wasOurs ? undefined : (error ?? new ClientError("CONNECTION_CLOSED"));
    tell(() => this.emit("close", reason));
  }
}
