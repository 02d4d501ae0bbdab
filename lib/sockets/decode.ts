/**
 * decode: bytes to text, whatever wrote them.
 *
 * A table is ASCII but for a few words: German Windows prints its states in code page 850, PowerShell redirects in UTF-16, a
 * chat puts no-break spaces between the columns. Nothing here fails: bytes that are no UTF-8 are read as Latin-1, which keeps
 * every one of them.
 */
import { isAscii } from "node:buffer";
import { TextDecoder } from "node:util";

type Encoding = "utf-8" | "utf-16le" | "utf-16be";

/** So many bytes tell the encoding. */
const SIGNATURE_BYTES = 4;
const NOTHING = new Uint8Array();

/** Decodes bytes that arrive in pieces of any size. What is no UTF-8 is read as Latin-1 from the piece on that shows it. */
export class ByteDecoder {
  #encoding: Encoding | undefined;
  #utf16: TextDecoder | undefined;
  #isLatin1 = false;
  /** Bytes that wait for those behind them: the first few of all, or of a character. */
  #held: Uint8Array = NOTHING;

  /** The text of the next bytes. A character that they end in the middle of comes with the next call. */
  push(bytes: Uint8Array): string {
    return this.#decode(bytes, false);
  }

  /** What is left: a character that never ended. */
  finish(): string {
    const rest = this.#decode(NOTHING, true);
    return rest + (this.#utf16?.decode() ?? "");
  }

  #decode(next: Uint8Array, isLast: boolean): string {
    const bytes = this.#held.length === 0 ? next : Buffer.concat([this.#held, next]);
    this.#held = NOTHING;
    if (this.#encoding === undefined) {
      if (bytes.length < SIGNATURE_BYTES && !isLast) {
        this.#held = bytes;
        return "";
      }
      this.#encoding = encodingOf(bytes);
      if (this.#encoding !== "utf-8") this.#utf16 = new TextDecoder(this.#encoding);
      else if (startsWithMark(bytes)) return this.#utf8(bytes.subarray(3), isLast);
    }
    const wide = this.#utf16?.decode(bytes, { stream: true });
    return wide === undefined ? this.#utf8(bytes, isLast) : withPlainBlanks(wide);
  }

  #utf8(bytes: Uint8Array, isLast: boolean): string {
    if (this.#isLatin1 || isAscii(bytes)) return latin1(bytes);
    const whole = isLast ? bytes.length : bytes.length - unfinished(bytes);
    try {
      const text = UTF8.decode(bytes.subarray(0, whole));
      this.#held = bytes.subarray(whole);
      return withPlainBlanks(text);
    } catch {
      this.#isLatin1 = true;
      return latin1(bytes);
    }
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * What was copied from a web page or a chat has no-break spaces between its columns. In what was read as Latin-1 that byte may be
 * a letter of another code page.
 */
function withPlainBlanks(text: string): string {
  return text.replaceAll("\u00A0", " ");
}

function startsWithMark(bytes: Uint8Array): boolean {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
}

/** How many bytes at the end begin a character of UTF-8 that goes on behind them. */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= 3; back += 1) {
    const byte = bytes.at(-back) ?? 0;
    const isLead = byte >= 0xc0;
    if (isLead) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
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
function encodingOf(bytes: Uint8Array): Encoding {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  const zeros = [0, 1, 2, 3].map((at) => (bytes[at] === 0 ? "0" : "x")).join("");
  return ZEROS.get(zeros) ?? "utf-8";
}

const ZEROS: ReadonlyMap<string, Encoding> = new Map([
  ["x0x0", "utf-16le"],
  ["0x0x", "utf-16be"],
]);

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
