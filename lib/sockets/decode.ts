/**
 * decode: bytes to text, whatever wrote them.
 *
 * A table is ASCII but for a few words: German Windows prints its states in code page 850, PowerShell redirects in UTF-16.
 * Nothing here fails: bytes that are no UTF-8 are read as Latin-1, which keeps every one of them.
 */
import { isAscii } from "node:buffer";
import { TextDecoder } from "node:util";

/** Decodes bytes that arrive in pieces. */
export class ByteDecoder {
  #decoder: TextDecoder | undefined;
  #isLatin1 = false;

  /** The text of the next bytes. A character that they end in the middle of comes with the next call. */
  push(bytes: Uint8Array): string {
    if (bytes.length === 0) return "";
    if (this.#decoder === undefined) {
      const encoding = encodingOf(bytes);
      if (encoding === "utf-8" && !this.#isLatin1 && isAscii(bytes)) return latin1(bytes);
      this.#decoder = new TextDecoder(encoding, { fatal: encoding === "utf-8" });
    }
    return this.#decode(bytes, true);
  }

  /** What is left: a character that never ended. */
  finish(): string {
    return this.#decoder === undefined || this.#isLatin1
      ? ""
      : this.#decode(new Uint8Array(), false);
  }

  #decode(bytes: Uint8Array, stream: boolean): string {
    if (!this.#isLatin1) {
      try {
        return this.#decoder?.decode(bytes, { stream }) ?? "";
      } catch {
        this.#isLatin1 = true;
      }
    }
    return latin1(bytes);
  }
}

/** Decodes a whole text. */
export function decodeText(bytes: Uint8Array): string {
  const decoder = new ByteDecoder();
  return decoder.push(bytes) + decoder.finish();
}

/** Decodes a stream of bytes. */
export async function* decodeStream(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new ByteDecoder();
  for await (const bytes of pieces) yield decoder.push(bytes);
  yield decoder.finish();
}

/** By its byte order mark; or, without one, UTF-16 where every other of the first bytes is zero. */
function encodingOf(bytes: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  const zeros = [0, 1, 2, 3].map((at) => (bytes[at] === 0 ? "0" : "x")).join("");
  return ZEROS.get(zeros) ?? "utf-8";
}

const ZEROS: ReadonlyMap<string, "utf-16le" | "utf-16be"> = new Map([
  ["x0x0", "utf-16le"],
  ["0x0x", "utf-16be"],
]);

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
