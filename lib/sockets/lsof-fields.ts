/**
 * lsof-fields: `lsof -F` and `lsof -F0`, one field a line, or many ended by NUL characters.
 *
 * A field is one letter and its value. `p` opens a process, `f` a descriptor; where `f` was not asked for, a field that
 * comes again opens the next one. Without `P` there is no protocol, without `T` no state; `m` ends a round of -r (lsof(8),
 * OUTPUT FOR OTHER PROGRAMS).
 */
import { familyOf } from "./endpoint.ts";
import { wholeNumber } from "./lines.ts";
import { isUnnamed, nameOf, NO_PCB, REPEATED } from "./lsof.ts";
import { ParseError } from "./parse-error.ts";
import { SKIP, type Format, type Reader, type Sink } from "./reader.ts";
import type { SocketRecord } from "./record.ts";
import { stateNamed } from "./state-names.ts";

/** `lsof -F`, as an entry of the registry in formats.ts. */
export const lsofFields: Format = {
  name: "lsof-fields",
  tool: "lsof",
  about: "lsof -F, lsof -F0 (fields)",
  recognises: (line) => /^p\d+(\0|$)/.test(line),
  open: (sink) => new LsofFieldsReader(sink),
};

type Line = { readonly text: string; readonly number: number };

type File = {
  readonly fields: Map<string, string>;
  readonly lines: Line[];
};

class LsofFieldsReader implements Reader {
  readonly #sink: Sink;
  #process = new Map<string, string>();
  #file: File = { fields: new Map(), lines: [] };
  /** Descriptors of the process that is being listed: -K lists it again for every thread. */
  readonly #seen = new Set<string>();
  #withoutProtocol = 0;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  line(text: string, number: number): void {
    if (text === "") {
      this.#sink.skip(number, SKIP.blank, text);
      return;
    }
    if (text.startsWith("lsof: ")) {
      this.#sink.skip(number, SKIP.prose, text);
      return;
    }
    if (/^m\0?$/.test(text)) {
      this.#closeFile({ text, number });
      this.#seen.clear();
      this.#sink.skip(number, SKIP.header, text);
      return;
    }
    for (const field of text.split("\0")) if (field !== "") this.#field(field, { text, number });
    if (this.#file.lines.at(-1)?.number === number) return;
    this.#sink.skip(number, "fields of a process", text);
  }

  end(): void {
    this.#closeFile();
    const count = this.#withoutProtocol;
    if (count === 0) return;
    const descriptors = count === 1 ? "1 descriptor" : `${count} descriptors`;
    this.#sink.note(`${descriptors} without a protocol: ${NO_PROTOCOL}; not counted`);
  }

  #field(field: string, line: Line): void {
    const key = field.slice(0, 1);
    const value = field.slice(1);
    if (!/[a-zA-Z]/.test(key)) refuse("no field of lsof -F", line);
    if (key === "p") {
      this.#closeFile(line);
      if (this.#process.get("p") !== value) this.#seen.clear();
      this.#process = new Map([["p", value]]);
    } else if (PROCESS_FIELDS.has(key)) this.#process.set(key, value);
    else this.#fileField(key, value, line);
  }

  #fileField(key: string, value: string, line: Line): void {
    const name = key === "T" ? `T${value.slice(0, 3)}` : key;
    if (key === "f" || this.#file.fields.has(name)) this.#closeFile(line);
    this.#file.fields.set(name, key === "T" ? value.slice(3) : value);
    if (this.#file.lines.at(-1)?.number !== line.number) this.#file.lines.push(line);
  }

  /** @param next - the line that opens the next descriptor: with -F0 too each has a line of its own. */
  #closeFile(next?: Line): void {
    const { fields, lines } = this.#file;
    if (next !== undefined && lines.at(-1)?.number === next.number)
      refuse("two descriptors in one line", next);
    this.#file = { fields: new Map(), lines: [] };
    const [first, ...rest] = lines;
    if (first === undefined) return;
    const record = this.#record(fields, first);
    if (typeof record === "string") this.#sink.skip(first.number, record, first.text);
    else this.#sink.record(record);
    for (const { number, text } of rest) this.#sink.skip(number, SKIP.details, text);
  }

  #record(fields: ReadonlyMap<string, string>, line: Line): SocketRecord | string {
    const reason = noRecordReason(fields) ?? this.#repeatReason(fields);
    if (reason === NO_PROTOCOL) this.#withoutProtocol += 1;
    if (reason !== undefined) return reason;
    const type = fields.get("t");
    const kind = fields.get("P") === "TCP" ? "tcp" : "udp";
    const endpoints = nameOf([fields.get("n") ?? ""], { ...line, protocol: kind });
    const inode = wholeNumber(fields.get("i")) ?? wholeNumber(fields.get("d"));
    return {
      protocol: kind,
      family: type === "IPv4" ? 4 : type === "IPv6" ? 6 : familyOf(endpoints.local),
      ...endpoints,
      state: kind === "tcp" ? stateOf(fields.get("TST="), line) : undefined,
      recvQ: wholeNumber(fields.get("TQR=")),
      sendQ: wholeNumber(fields.get("TQS=")),
      owners: this.#owners(fields.get("f")),
      line: line.number,
      ...(inode === undefined ? {} : { inode }),
    };
  }

  #repeatReason(fields: ReadonlyMap<string, string>): string | undefined {
    const fd = fields.get("f");
    if (fd === undefined) return undefined;
    const descriptor = `${fd}/${fields.get("d") ?? ""}`;
    if (this.#process.has("K") && this.#seen.has(descriptor)) return REPEATED;
    this.#seen.add(descriptor);
    return undefined;
  }

  #owners(fd: string | undefined): SocketRecord["owners"] {
    const pid = wholeNumber(this.#process.get("p"));
    const name = this.#process.get("c");
    const number = wholeNumber(fd);
    if (pid === undefined) return [];
    return [
      {
        pid,
        ...(name === undefined ? {} : { name }),
        ...(number === undefined ? {} : { fd: number }),
      },
    ];
  }
}

/** Fields that describe the process: command, group, user id, login, parent, task, command of the task. */
const PROCESS_FIELDS: ReadonlySet<string> = new Set(["c", "g", "u", "L", "R", "K", "M", "Z"]);

const NO_PROTOCOL = "lsof -F was not asked for P";

function noRecordReason(fields: ReadonlyMap<string, string>): string | undefined {
  const type = fields.get("t");
  const protocol = fields.get("P");
  if (type !== undefined && type !== "IPv4" && type !== "IPv6") return "no socket of IP";
  if (protocol === undefined) return NO_PROTOCOL;
  if (protocol !== "TCP" && protocol !== "UDP") return `${protocol}: ${SKIP.other}`;
  if (isUnnamed(fields.get("n") ?? "")) return NO_PCB;
  return fields.has("n") ? undefined : "no name: lsof -F was not asked for n";
}

function stateOf(word: string | undefined, line: Line): SocketRecord["state"] {
  const state = word === undefined ? undefined : stateNamed(word);
  if (word !== undefined && state === undefined)
    refuse(`unknown state ${JSON.stringify(word)}`, line);
  return state;
}

function refuse(reason: string, { text, number }: Line): never {
  throw new ParseError({ format: "lsof-fields", reason, line: number, text });
}
