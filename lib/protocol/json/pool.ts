/**
 * pool: connections that are kept and lent, instead of made and thrown away. The cure for most of what this suite breaks.
 *
 * What is made, ended and looked at is up to the caller: connections of the protocol (`jsonPool`), or sockets of any other kind.
 */
import { deadline } from "../deadline.ts";
import { MAX_TIMER_MS } from "../pause-until.ts";
import { ClientError } from "./client-errors.ts";
import type { ClientConnection } from "./client-connection.ts";
import { openConnection, type ConnectOptions } from "./connect.ts";
import { usualUnless } from "./usual.ts";

/** What a pool has to know of its connections. */
export type PoolParts<T> = {
  readonly create: () => Promise<T>;
  readonly destroy: (connection: T) => Promise<void> | void;
  /** Before it is lent again: may it be? False, or an error, ends it, and another one is lent. */
  readonly validate?: (connection: T) => Promise<boolean> | boolean;
};

/** How many connections, and how long what may wait. */
export type PoolLimits = {
  /** Kept even when idle. */
  readonly min: number;
  readonly max: number;
  /** Idle for so long, beyond min: ended. Keep it shorter than the server's own idle time-out. */
  readonly idleTimeoutMs: number;
  /** So many may wait; one more is refused at once. */
  readonly maxQueue: number;
  /** For so long. */
  readonly acquireTimeoutMs: number;
};

/** What holds where nothing else was asked for. */
export const POOL_LIMITS: PoolLimits = {
  min: 0,
  max: 10,
  idleTimeoutMs: 30_000,
  maxQueue: 1_000,
  acquireTimeoutMs: 5_000,
};

/** After this nobody waits any longer for connections that are being ended. */
const ENDING_MS = 1_000;

/** Somebody who wants a connection. */
type Waiter<T> = {
  readonly lend: (connection: T) => void;
  readonly refuse: (error: Error) => void;
};

/**
 * A pool of connections of any kind; `use` lends one for as long as a piece of work takes. Whoever came first is served first, and the
 * connection that came back last is lent first: the others grow old, and go.
 */
export class ConnectionPool<T> implements AsyncDisposable {
  readonly #parts: PoolParts<T>;
  readonly #limits: PoolLimits;
  readonly #idle: { readonly connection: T; readonly sinceMs: number }[] = [];
  readonly #lent = new Set<T>();
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiter<T>>();
  /** Of those who wait, so many will be served by a connection that is being made, or looked at. */
  #coming = 0;
  /** Being made, idle, lent, or being ended: until it has gone, a connection is one. */
  #alive = 0;
  #sweeper: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #onEmpty = (): void => undefined;
  /** Connections made so far, those that are gone included. */
  created = 0;

  constructor(parts: PoolParts<T>, limits: Partial<PoolLimits> = {}) {
    this.#parts = parts;
    this.#limits = usualUnless(POOL_LIMITS, limits);
  }

  /** Connections that are there, lent or idle. */
  get size(): number {
    return this.#lent.size + this.#idle.length;
  }

  /**
   * Lends a connection for as long as `work` takes. Rejects with what `work` rejects with; with POOL_QUEUE_FULL or POOL_TIMEOUT;
   * with CLIENT_CLOSED; or with what making a connection has failed with. A connection whose work has failed is not lent again.
   */
  async use<R>(work: (connection: T) => Promise<R>): Promise<R> {
    const connection = await this.#borrow();
    let isGood = false;
    try {
      const result = await work(connection);
      isGood = true;
      return result;
    } finally {
      this.#giveBack(connection, isGood);
    }
  }

  /** Waits for what is lent, at most `waitMs`, then ends all connections. Who waits for one, or comes from now on, gets CLIENT_CLOSED. */
  close(waitMs = 5_000): Promise<void> {
    return (this.#closing ??= this.#close(waitMs));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(waitMs: number): Promise<void> {
    clearInterval(this.#sweeper);
    for (const { refuse } of this.#waiting) refuse(new ClientError("CLIENT_CLOSED"));
    for (const { connection } of this.#idle.splice(0)) void this.#end(connection);
    await this.#emptied(waitMs);
    for (const connection of this.#lent) void this.#end(connection);
    this.#lent.clear();
    await this.#emptied(ENDING_MS);
  }

  /** Waits until no connection is left, but no longer than this. */
  async #emptied(waitMs: number): Promise<void> {
    if (this.#alive === 0 || waitMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(waitMs, MAX_TIMER_MS));
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #borrow(): Promise<T> {
    if (this.#closing !== undefined) throw new ClientError("CLIENT_CLOSED");
    const { min, max, maxQueue } = this.#limits;
    const isServedNow = this.#idle.length > 0 || this.#alive < max;
    if (!isServedNow && this.#waiting.size - this.#coming >= maxQueue)
      throw new ClientError("POOL_QUEUE_FULL", `${maxQueue}`);
    const connection = this.#wait();
    this.#serve();
    while (this.#alive < min) void this.#make();
    this.#sweeper ??= this.#startSweeping();
    return connection;
  }

  #wait(): Promise<T> {
    const { acquireTimeoutMs } = this.#limits;
    return new Promise((resolve, reject) => {
      const stopWaiting = deadline(acquireTimeoutMs, () =>
        waiter.refuse(new ClientError("POOL_TIMEOUT", `${acquireTimeoutMs} ms`)),
      );
      const leave = (): void => {
        stopWaiting();
        this.#waiting.delete(waiter);
      };
      const waiter: Waiter<T> = {
        lend: (connection) => {
          leave();
          resolve(connection);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      this.#waiting.add(waiter);
    });
  }

  /** Sees to it that a connection comes for each who waits, as far as there may be any. */
  #serve(): void {
    while (this.#waiting.size > this.#coming) {
      const last = this.#idle.pop();
      if (last !== undefined) void this.#lookAt(last.connection);
      else if (this.#alive < this.#limits.max) void this.#make();
      else return;
    }
  }

  /** Lends it, if it may be lent again. */
  async #lookAt(connection: T): Promise<void> {
    this.#coming += 1;
    let isGood = false;
    try {
      isGood = (await this.#parts.validate?.(connection)) !== false;
    } catch {
      // As good as false.
    }
    this.#coming -= 1;
    if (isGood) this.#hand(connection);
    else void this.#end(connection);
    this.#serve();
  }

  async #make(): Promise<void> {
    this.#coming += 1;
    this.#alive += 1;
    const made = await Promise.resolve()
      .then(() => this.#parts.create())
      .then(
        (connection) => ({ connection }),
        (error: unknown) => ({ error: error as Error }),
      );
    this.#coming -= 1;
    if ("connection" in made) {
      this.created += 1;
      this.#hand(made.connection);
      return;
    }
    const [first] = this.#waiting;
    first?.refuse(made.error);
    this.#gone();
  }

  #hand(connection: T): void {
    const [first] = this.#waiting;
    if (this.#closing !== undefined) void this.#end(connection);
    else if (first === undefined) this.#idle.push({ connection, sinceMs: performance.now() });
    else {
      this.#lent.add(connection);
      first.lend(connection);
    }
  }

  #giveBack(connection: T, isGood: boolean): void {
    // At the end of its time it has been ended already.
    if (!this.#lent.delete(connection)) return;
    if (!isGood || this.#closing !== undefined) return void this.#end(connection);
    this.#idle.push({ connection, sinceMs: performance.now() });
    this.#serve();
  }

  async #end(connection: T): Promise<void> {
    try {
      await this.#parts.destroy(connection);
    } catch {
      // It has gone, one way or the other.
    }
    this.#gone();
  }

  #gone(): void {
    this.#alive -= 1;
    if (this.#alive === 0) this.#onEmpty();
    this.#serve();
  }

  #startSweeping(): NodeJS.Timeout {
    const { min, idleTimeoutMs } = this.#limits;
    const everyMs = Math.max(10, Math.min(1_000, idleTimeoutMs / 4));
    return setInterval(() => {
      const dueMs = performance.now() - idleTimeoutMs;
      while (this.size > min && (this.#idle[0]?.sinceMs ?? Infinity) <= dueMs) {
        const [oldest] = this.#idle.splice(0, 1);
        if (oldest !== undefined) void this.#end(oldest.connection);
      }
    }, everyMs).unref();
  }
}

/** A pool of connections of the protocol. One that has ended is not lent again. */
export function jsonPool(
  options: ConnectOptions,
  limits: Partial<PoolLimits> = {},
): ConnectionPool<ClientConnection> {
  return new ConnectionPool(
    {
      create: () => openConnection(options),
      destroy: (connection) => connection.close(),
      validate: (connection) => connection.isOpen,
    },
    limits,
  );
}
