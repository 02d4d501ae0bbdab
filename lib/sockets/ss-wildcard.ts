/**
 * ss-wildcard: which family the `*` of ss is.
 *
 * Since iproute2 4.15 `*:80` is a socket of both families, hence IPv6, beside `0.0.0.0:80` and `[::]:80`. Long before it was
 * IPv4, beside `:::80`; between those times it was either, with nothing beside it that would tell. So the rows from the
 * first `*` on wait for one that does.
 */
import type { SocketRecord } from "./record.ts";

/** So many rows wait at most: text of any length is read in constant memory. */
const MAX_WAITING = 1_000;

/** Passes records on, in their order, with the family that their `*` has in this text. */
export class Wildcards {
  readonly #next: (record: SocketRecord) => void;
  #family: 4 | 6 | undefined;
  #waiting: SocketRecord[] = [];

  /** @param family - where it is known from elsewhere: every ss on whose machine Node 20 runs is a new one. */
  constructor(next: (record: SocketRecord) => void, family: 4 | 6 | undefined) {
    this.#next = next;
    this.#family = family;
  }

  /** An endpoint as ss has written it: some tell. */
  see(word: string): void {
    if (this.#family !== undefined) return;
    this.#family = familyShown(word);
    if (this.#family !== undefined) this.flush();
  }

  /** A row whose endpoints were seen. */
  push(record: SocketRecord): void {
    if (this.#family !== undefined) this.#next(this.#told(record));
    else if (this.#waiting.length === 0 && record.family !== undefined) this.#next(record);
    else {
      this.#waiting.push(record);
      if (this.#waiting.length > MAX_WAITING) this.flush();
    }
  }

  /** Passes on what waits, told or not. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const record of waiting) this.#next(this.#told(record));
  }

  #told(record: SocketRecord): SocketRecord {
    const family = record.family ?? this.#family;
    return record.local.address === "*" && family !== record.family
      ? { ...record, family }
      : record;
  }
}

/** What `*` is in a text where an endpoint is written like this. */
function familyShown(word: string): 4 | 6 | undefined {
  if (word.startsWith("0.0.0.0") || word.startsWith("[::]")) return 6;
  return word.startsWith(":::") ? 4 : undefined;
}
