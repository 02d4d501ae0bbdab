/**
 * pool: connections that are kept and lent, instead of made and thrown away. The cure for most of what this suite breaks.
 *
 * What is made, ended and looked at is up to the caller: connections of the protocol (`jsonPool`), or sockets of any other kind. The
 * bookkeeping is lightning-pool's.
 */
import { Pool } from "lightning-pool";
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

/** A pool of connections of any kind; `use` lends one for as long as a piece of work takes. */
export class ConnectionPool<T> implements AsyncDisposable {
  readonly #pool: Pool<T>;
  readonly #limits: PoolLimits;
  /** Tells whoever waits for a connection that there will be none. */
  readonly #waiting = new Set<(error: Error) => void>();
  #isClosed = false;
  /** Connections made so far, those that are gone included. */
  created = 0;

  constructor(parts: PoolParts<T>, limits: Partial<PoolLimits> = {}) {
    this.#limits = usualUnless(POOL_LIMITS, limits);
    const { min, max, idleTimeoutMs, maxQueue, acquireTimeoutMs } = this.#limits;
    const { create, destroy, validate } = parts;
    this.#pool = new Pool<T>(
      {
        create: async () => {
          const connection = await create();
          this.created += 1;
          return connection;
        },
        destroy,
        ...(validate === undefined
          ? {}
          : {
              validate: async (connection: T) => {
                if (!(await validate(connection))) throw new ClientError("CONNECTION_CLOSED");
              },
            }),
      },
      {
        min,
        max,
        maxQueue,
        idleTimeoutMillis: idleTimeoutMs,
        acquireTimeoutMillis: acquireTimeoutMs,
        acquireMaxRetries: 0,
        houseKeepInterval: Math.max(10, Math.min(1_000, idleTimeoutMs / 4)),
        validation: validate !== undefined,
      },
    );
  }

  /** Connections that are there, lent or idle. */
  get size(): number {
    return this.#pool.size;
  }

  /**
   * Lends a connection for as long as `work` takes. Rejects with what `work` rejects with; with POOL_QUEUE_FULL or POOL_TIMEOUT;
   * with CLIENT_CLOSED; or with what making a connection has failed with. A connection whose work has failed is not lent again.
   */
  async use<R>(work: (connection: T) => Promise<R>): Promise<R> {
    const connection = await this.#acquire();
    let result: R;
    try {
      result = await work(connection);
    } catch (error) {
      // What the end of the connection has to say is not what was asked for.
      await this.#pool.destroyAsync(connection).catch(() => undefined);
      throw error;
    }
    await this.#pool.releaseAsync(connection);
    return result;
  }

  /** Waits for what is lent, at most `waitMs`, then ends all connections. Who waits for one, or comes from now on, gets CLIENT_CLOSED. */
  async close(waitMs = 5_000): Promise<void> {
    this.#isClosed = true;
    // The bookkeeping forgets those for whom a connection is being made.
    for (const refuse of this.#waiting) refuse(new ClientError("CLIENT_CLOSED"));
    await this.#pool.closeAsync(waitMs);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #acquire(): Promise<T> {
    if (this.#isClosed) throw new ClientError("CLIENT_CLOSED");
    if (this.#pool.pending >= this.#limits.maxQueue)
      throw new ClientError("POOL_QUEUE_FULL", `${this.#limits.maxQueue}`);
    try {
      return await this.#lent();
    } catch (error) {
      const { message } = error as Error;
      if (/tim(ed|e) ?-?out/i.test(message) && !(error as { code?: string }).code)
        throw new ClientError("POOL_TIMEOUT", `${this.#limits.acquireTimeoutMs} ms`, {
          cause: error,
        });
      throw error;
    }
  }

  #lent(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      const lent = this.#pool.acquire().then(resolve, reject);
      void lent.finally(() => this.#waiting.delete(reject));
    });
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
