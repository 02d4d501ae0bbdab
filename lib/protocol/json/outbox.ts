/** outbox: gathers what is to be sent and hands it to the kernel in one go: one write(2) per chunk read, not one per message. */
import type { Socket } from "node:net";
import { HEADER_BYTES } from "./frames.ts";

/** Up to so many bytes are copied into one buffer; beyond, buffers are handed over as they are (writev). */
const COPIED_BYTES = 131_072;

/**
 * So many bytes, where they are ASCII, leave as text: Node writes it from its own stack, and nobody makes a Buffer for it. A longer text
 * takes memory either way (StreamBase::WriteString in Node's src/stream_base.cc).
 */
const STACK_BYTES = 16_384;

/** What is to be sent on one connection: texts, which become frames, and frames. */
export class Outbox {
  readonly #items: (string | Buffer)[] = [];
  /** At least so many bytes are in here; text that is not ASCII takes more. */
  bytes = 0;

  add(item: string | Buffer): void {
    this.#items.push(item);
    this.bytes += item.length;
  }

  /** Hands everything over, once. Returns the number of bytes. */
  writeTo(socket: Socket): number {
    const items = this.#items;
    if (items.length > 1 && this.bytes > COPIED_BYTES) return writeEach(socket, items);
    const text = this.bytes <= STACK_BYTES ? asText(items) : undefined;
    if (text !== undefined) {
      socket.write(text, "latin1");
      return text.length;
    }
    const [first] = items;
    const whole = items.length === 1 && Buffer.isBuffer(first) ? first : joined(items);
    socket.write(whole);
    return whole.length;
  }
}

/** All of it, the lengths in front as characters of one byte; undefined where something is not ASCII. */
function asText(items: readonly (string | Buffer)[]): string | undefined {
  let text = "";
  for (const item of items) {
    if (typeof item !== "string" || Buffer.byteLength(item) !== item.length) return undefined;
    text += headerText(item.length) + item;
  }
  return text;
}

function headerText(bytes: number): string {
  return String.fromCharCode(bytes >>> 24, (bytes >>> 16) & 255, (bytes >>> 8) & 255, bytes & 255);
}

function writeEach(socket: Socket, items: readonly (string | Buffer)[]): number {
  let bytes = 0;
  socket.cork();
  for (const item of items) {
    const frame = typeof item === "string" ? joined([item]) : item;
    bytes += frame.length;
    socket.write(frame);
  }
  socket.uncork();
  return bytes;
}

function joined(items: readonly (string | Buffer)[]): Buffer {
  let size = 0;
  for (const item of items) size += sizeOf(item);
  const whole = Buffer.allocUnsafe(size);
  let offset = 0;
  for (const item of items) {
    if (typeof item === "string") {
      const end = offset + HEADER_BYTES + whole.write(item, offset + HEADER_BYTES, "utf8");
      whole.writeUInt32BE(end - offset - HEADER_BYTES, offset);
      offset = end;
    } else offset += item.copy(whole, offset);
  }
  return whole;
}

function sizeOf(item: string | Buffer): number {
  return typeof item === "string" ? HEADER_BYTES + Buffer.byteLength(item) : item.length;
}

/**
 * What the kernel has not taken yet of the write under way. Later writes wait behind it, so any change means that something was taken;
 * writableLength tells that only once the whole write is done. node:net looks here, too, before it calls a socket idle.
 */
export function unwrittenBytes(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { readonly _handle?: StreamHandle | null };
  return (handle?._parent ?? handle)?.writeQueueSize ?? socket.writableLength;
}

/** What a socket has of the kernel's; below TLS there is another one. */
type StreamHandle = { readonly writeQueueSize?: number; readonly _parent?: StreamHandle };
