/**
 * connection: one client. From bytes to answers, in order, and never more in hand than the peer takes away.
 *
 * It stops reading while a handler is at work, while the peer does not read its answers, and while the peer is throttled: TCP then
 * tells the peer to wait. Ten thousand of these are to cost little: no timers, no closures, one shared set of listeners.
 */
import type { Socket } from "node:net";
import { flushAwaiting, forget, nowMs, twoTurns, type Core } from "./core.ts";
import { ProtocolError, type ProtocolErrorCode } from "./errors.ts";
import { FrameDecoder, type Frame } from "./frames.ts";
import type { Caller } from "./handlers.ts";
import {
  decodeMessage,
  encodeText,
  errorMessage,
  idOf,
  type Message,
  type Packing,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import { isStalled, overdue, silenceSince, type Silence } from "./patience.ts";
import { respond } from "./requests.ts";
import { Throttle } from "./rate.ts";
import { count, type CloseReason } from "./tally.ts";

/** Answers to one chunk are handed over each time when there are so many bytes of them. */
const FLUSH_BYTES = 65_536;

export class Connection implements Caller {
  readonly clientId: string;
  readonly socket: Socket;
  /** How what is sent to it has to be packed; hello changes it. */
  packing: Packing;
  /** Until it is, nothing but hello and auth is answered. */
  isAuthenticated: boolean;
  /** Until it leaves, or is told to. */
  isClient = true;
  readonly #core: Core;
  readonly #decoder: FrameDecoder;
  readonly #throttle: Throttle | undefined;
  /** Set once the end has begun: from then on whatever arrives is thrown away. */
  #reason: CloseReason | undefined;
  #errno: string | undefined;
  #isBusy = false;
  #isBlocked = false;
  #isReading = true;
  #hasPeerEnded = false;
  #hasHadLastLook = false;
  /** What has not been handed to the kernel yet. */
  #outbox: Outbox | undefined;
  #errorsInARow = 0;
  readonly #traffic = { messages: 0, bytes_in: 0, bytes_out: 0 };
  readonly #silence: Silence;
  /** Since when it is leaving. */
  #leftMs = 0;

  constructor(socket: Socket, core: Core) {
    this.socket = socket;
    this.clientId = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
    this.#core = core;
    this.#decoder = new FrameDecoder(core.limits.maxFrameBytes);
    this.packing = core.plain;
    this.isAuthenticated = core.isToken === undefined;
    const now = nowMs();
    this.#silence = silenceSince(now);
    this.#throttle = core.rate === undefined ? undefined : new Throttle(core.rate, now);
  }

  /** Is this a client to which broadcasts go? */
  get isListening(): boolean {
    return this.#reason === undefined && this.isAuthenticated;
  }

  receive(chunk: Buffer): void {
    this.#traffic.bytes_in += chunk.length;
    this.#core.tally.bytesIn += chunk.length;
    if (this.#reason !== undefined) return;
    const startMs = performance.now();
    this.#heard(startMs);
    this.#decoder.push(chunk);
    this.#work();
    if (!this.#isBusy) this.#core.tally.times.add(performance.now() - startMs);
  }

  /** The peer has sent its FIN. It may still want the answers. */
  end(): void {
    this.#hasPeerEnded = true;
    this.#work();
  }

  /** All that was written is with the kernel. */
  drain(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#heard(performance.now());
    this.#work();
  }

  fail(error: NodeJS.ErrnoException): void {
    this.#errno = error.code ?? error.message;
    this.#reason ??= "lost";
  }

  close(): void {
    const core = this.#core;
    const reason = (this.#reason ??= "lost");
    this.#depart();
    count(core.tally.closed, reason);
    const errno = reason === "lost" && this.#errno !== undefined ? { errno: this.#errno } : {};
    const about = { client: this.clientId, reason, ...errno, ...this.#traffic };
    const duration_ms = nowMs() - this.#silence.openedMs;
    core.onEvent?.({ event: "disconnect", ...about, duration_ms });
    forget(core, this);
  }

  /** Adds a frame that this client has not asked for. False when too much waits for it already: it is told to leave. */
  deliver(frame: Buffer): boolean {
    const waiting = this.socket.writableLength + (this.#outbox?.bytes ?? 0) + frame.length;
    if (waiting > this.#core.limits.maxQueuedBytes) {
      this.dismiss("SLOW_CONSUMER", `${waiting} bytes would wait for you`);
      return false;
    }
    if (this.#outbox === undefined) this.#core.awaiting.push(this);
    this.#add(frame);
    return true;
  }

  /** Hands to the kernel what was delivered. */
  flush(): void {
    this.#flush();
    this.#adjustReading();
  }

  /** Says why, then FIN. What the peer still sends is read and thrown away, so that no reset destroys our last words. */
  dismiss(code: ProtocolErrorCode, detail?: string): void {
    if (this.#reason !== undefined) return;
    this.#tell(new ProtocolError(code, detail));
    this.#adjustReading();
  }

  /** Leaves as soon as what has arrived is answered. */
  shutDown(): void {
    if (this.#isReady) this.dismiss("SHUTTING_DOWN");
  }

  /** Whatever depends on time: called for every connection, now and then. */
  tick(now: number): void {
    const { limits, isClosing } = this.#core;
    if (this.#reason !== undefined) {
      const isPatient = isClosing && this.socket.writableLength > 0;
      if (now - this.#leftMs >= limits.lingerMs && !isPatient) this.socket.destroy();
    } else if (this.#isBlocked) {
      if (isStalled(limits, now, this.#silence, this.socket)) this.dismiss("SLOW_CONSUMER");
    } else if (this.#throttle?.isShut === true) {
      this.#throttle.reopen(now);
      this.#work();
    } else if (!this.#isBusy) {
      const due = overdue(limits, now, this.#silence, this.isAuthenticated);
      if (due === "ping") this.#ping(now);
      else if (due !== undefined) this.dismiss(due);
    }
  }

  #ping(now: number): void {
    this.#silence.pingedMs = now;
    this.#send(JSON.stringify({ type: "ping", timestamp: new Date().toISOString() }));
    this.#flush();
  }

  /** Handles what has arrived, as long as nothing stands against it, and hands over the answers. */
  #work(): void {
    while (this.#isReady) {
      const frame = this.#nextFrame();
      if (frame === undefined) break;
      this.#take(frame);
      if ((this.#outbox?.bytes ?? 0) >= FLUSH_BYTES) this.#flush();
    }
    this.#flush();
    flushAwaiting(this.#core);
    if (this.#isReady && this.#hasPeerEnded)
      this.#leave(this.#decoder.pendingBytes > 0 ? "cut" : "peer");
    if (this.#isReady && this.#core.isClosing) this.#leaveAfterLastLook();
    this.#adjustReading();
  }

  /** Who was not read from may have sent something long ago: it is looked for, once. */
  #leaveAfterLastLook(): void {
    if (this.#isReading || this.#hasHadLastLook) this.dismiss("SHUTTING_DOWN");
    else void twoTurns().then(() => this.#work());
    this.#hasHadLastLook = true;
  }

  get #isReady(): boolean {
    if (this.#isBusy || this.#isBlocked || this.#reason !== undefined) return false;
    return this.#throttle?.isShut !== true;
  }

  #adjustReading(): void {
    const shouldRead = this.#isReady || this.#reason !== undefined;
    if (shouldRead === this.#isReading) return;
    this.#isReading = shouldRead;
    this.socket[shouldRead ? "resume" : "pause"]();
  }

  #nextFrame(): Frame | undefined {
    try {
      return this.#decoder.next();
    } catch (error) {
      this.#tell(error as ProtocolError);
      return undefined;
    }
  }

  #take(frame: Frame): void {
    const { tally } = this.#core;
    this.#traffic.messages += 1;
    tally.messages += 1;
    tally.sizes.add(frame.payload.length);
    try {
      if (this.#throttle?.pass(this.#silence.heardMs) === false)
        throw new ProtocolError("RATE_LIMITED", undefined, idOf(frame, this.packing));
      this.#answer(decodeMessage(frame, this.packing));
      this.#errorsInARow = 0;
    } catch (error) {
      this.#tell(error as ProtocolError);
    }
  }

  #answer(message: Message): void {
    if (message.type !== "pong") this.#silence.requestMs = this.#silence.heardMs;
    const text = respond(this.#core, this, message);
    if (typeof text === "string") this.#send(text);
    else if (text !== undefined) void this.#answerLater(text);
  }

  async #answerLater(promise: Promise<string | undefined>): Promise<void> {
    this.#isBusy = true;
    try {
      const text = await promise;
      if (this.#reason === undefined && text !== undefined) this.#send(text);
    } catch (error) {
      if (this.#reason === undefined) this.#tell(error as ProtocolError);
    }
    this.#isBusy = false;
    // Time in which we did not listen is no silence of the peer's.
    this.#heard(performance.now());
    this.#silence.requestMs = this.#silence.heardMs;
    this.#work();
  }

  #heard(now: number): void {
    this.#silence.heardMs = Math.trunc(now);
    this.#silence.pingedMs = 0;
  }

  #tell(error: ProtocolError): void {
    const { tally, onEvent, limits } = this.#core;
    const { code, message, closes } = error;
    count(tally.errors, code);
    this.#send(JSON.stringify(errorMessage(error)));
    // First we leave, and then we tell: whoever listens may have something to send to us.
    if (closes) this.#leave(code);
    onEvent?.({ event: "protocol_error", client: this.clientId, code, message });
    if (closes || code === "RATE_LIMITED" || code === "INTERNAL") return;
    this.#errorsInARow += 1;
    if (this.#errorsInARow > limits.maxErrorsInARow) this.dismiss("TOO_MANY_ERRORS");
  }

  #send(text: string): void {
    const packing = this.packing;
    const isPacked = packing.deflate && text.length >= packing.deflateFromBytes;
    this.#add(isPacked ? encodeText(text, packing) : text);
  }

  #add(item: string | Buffer): void {
    this.#outbox ??= new Outbox();
    this.#outbox.add(item);
    this.#core.tally.sent += 1;
  }

  #flush(): void {
    const { socket } = this;
    const bytes = socket.writable ? (this.#outbox?.writeTo(socket) ?? 0) : 0;
    this.#outbox = undefined;
    if (bytes === 0) return;
    this.#traffic.bytes_out += bytes;
    this.#core.tally.bytesOut += bytes;
    // What the kernel took at once has left writableLength already, and then there is nothing to wait for.
    if (!socket.writableNeedDrain || socket.writableLength === 0 || this.#isBlocked) return;
    this.#isBlocked = true;
    this.#silence.takenMs = nowMs();
  }

  #leave(reason: CloseReason): void {
    this.#reason = reason;
    this.#flush();
    this.#leftMs = nowMs();
    this.socket.end();
    this.#depart();
  }

  #depart(): void {
    if (this.isClient) this.#core.clients -= 1;
    this.isClient = false;
  }
}
