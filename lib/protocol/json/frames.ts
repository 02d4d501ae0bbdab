/**
 * frames: where one message ends and the next begins. TCP is a stream of bytes: one write is not one read.
 *
 *     +--------+--------+--------+--------+------------------+
 *     | length of the payload, big-endian |     payload      |
 *     +--------+--------+--------+--------+------------------+
 *
 * The highest bit of the length says that the payload is compressed. Peers that know nothing of compression read it as a length
 * above 2 GiB and refuse it, as they should; it is never sent to a peer that has not asked for it.
 */
import { ProtocolError } from "./errors.ts";

/** Bytes of the length in front of each payload. */
export const HEADER_BYTES = 4;

/** The longest payload that is read unless told otherwise: 1 MiB. */
export const MAX_FRAME_BYTES = 1_048_576;

const COMPRESSED = 0x8000_0000;
const SMALLEST_STASH = 4_096;
const NOTHING = Buffer.alloc(0);

/** One frame as it was on the wire. `payload` may share memory with the chunk that brought it. */
export type Frame = { readonly payload: Buffer; readonly isCompressed: boolean };

/** A payload with its length in front, ready for one write. */
export function encodeFrame(payload: string | Buffer, isCompressed = false): Buffer {
  const bytes = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + bytes);
  frame.writeUInt32BE(isCompressed ? bytes + COMPRESSED : bytes, 0);
  if (typeof payload === "string") frame.write(payload, HEADER_BYTES, "utf8");
  else payload.copy(frame, HEADER_BYTES);
  return frame;
}

/**
 * Cuts a stream of bytes into frames, however the network has split it: `push()` a chunk, then call `next()` until it gives
 * `undefined`.
 *
 * A frame that lies in one chunk is not copied. One that does not is collected in a buffer that doubles as bytes really arrive:
 * work is linear in the bytes, memory is at most twice of what the peer has sent, and a peer that only announces a mebibyte
 * costs nothing.
 */
export class FrameDecoder {
  readonly #maxFrameBytes: number;
  #chunk: Buffer = NOTHING;
  #offset = 0;
  /** The beginning of a frame that an earlier chunk did not complete, header included. */
  #stash: Buffer = NOTHING;
  #stashed = 0;

  constructor(maxFrameBytes: number = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Bytes that have arrived and do not make a frame yet. At the end of a stream: what was cut off. */
  get pendingBytes(): number {
    return this.#stashed + this.#chunk.length - this.#offset;
  }

  /** Adds what has just been read. */
  push(chunk: Buffer): void {
    const rest = this.#chunk.length - this.#offset;
    this.#chunk = rest === 0 ? chunk : Buffer.concat([this.#chunk.subarray(this.#offset), chunk]);
    this.#offset = 0;
  }

  /**
   * The next complete frame, or `undefined` when more bytes are needed.
   * Throws ProtocolError FRAME_TOO_LARGE as soon as the length is known, before anything is allocated: the stream is then of no more use.
   */
  next(): Frame | undefined {
    return this.#stashed === 0 ? this.#fromChunk() : this.#fromStash();
  }

  #fromChunk(): Frame | undefined {
    const start = this.#offset + HEADER_BYTES;
    if (start <= this.#chunk.length) {
      const header = this.#chunk.readUInt32BE(this.#offset);
      const end = start + this.#checkedLength(header);
      if (end <= this.#chunk.length) {
        this.#offset = end;
        return { payload: this.#chunk.subarray(start, end), isCompressed: header >= COMPRESSED };
      }
    }
    if (this.#offset < this.#chunk.length) this.#take(this.#chunk.length - this.#offset);
    this.#chunk = NOTHING;
    this.#offset = 0;
    return undefined;
  }

  #fromStash(): Frame | undefined {
    if (this.#stashed < HEADER_BYTES) this.#take(HEADER_BYTES - this.#stashed);
    if (this.#stashed < HEADER_BYTES) return undefined;
    const header = this.#stash.readUInt32BE(0);
    const size = HEADER_BYTES + this.#checkedLength(header);
    this.#take(size - this.#stashed);
    if (this.#stashed < size) return undefined;
    const payload = this.#stash.subarray(HEADER_BYTES, size);
    this.#stash = NOTHING;
    this.#stashed = 0;
    return { payload, isCompressed: header >= COMPRESSED };
  }

  /** Moves up to `wanted` bytes from the chunk to the stash. */
  #take(wanted: number): void {
    const bytes = Math.min(wanted, this.#chunk.length - this.#offset);
    const needed = this.#stashed + bytes;
    if (needed > this.#stash.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#stash.length, SMALLEST_STASH));
      this.#stash.copy(larger, 0, 0, this.#stashed);
      this.#stash = larger;
    }
    this.#chunk.copy(this.#stash, this.#stashed, this.#offset, this.#offset + bytes);
    this.#stashed = needed;
    this.#offset += bytes;
  }

  #checkedLength(header: number): number {
    const length = header >= COMPRESSED ? header - COMPRESSED : header;
    if (length > this.#maxFrameBytes)
      throw new ProtocolError(
        "FRAME_TOO_LARGE",
        `expected a frame of at most ${this.#maxFrameBytes} bytes, got a length of ${length}${likeness(header)}`,
      );
    return length;
  }
}

/** What else a length may be that is far too large: the first four bytes of somebody who speaks another protocol. */
function likeness(header: number): string {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32BE(header);
  const text = bytes.toString("latin1");
  if (/^[ -~]+$/.test(text)) return `: these bytes are the text ${JSON.stringify(text)}`;
  // A record of TLS 1.0 to 1.3: an alert or a handshake. Source: RFC 8446 section 5.1.
  return /^[\x15\x16]\x03/.test(text) ? ": this is how TLS begins" : "";
}
