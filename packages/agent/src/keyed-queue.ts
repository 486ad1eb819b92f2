/** Work per key, the newest wish only, retried until it succeeds: writes to the API server and the like. */
import { Backoff } from '@ciliate/sources';
import type { Service } from './lifecycle.ts';
import { describe, type Log } from './log.ts';

export interface WorkHealth {
  readonly name: string;
  readonly lastSuccess: number | undefined;
  readonly lastFailure: number | undefined;
  readonly lastError: string | undefined;
  readonly successes: number;
  readonly failures: number;
  readonly consecutiveFailures: number;
}

export interface KeyedQueueOptions {
  readonly name: string;
  /** Keys worked on at once. */
  readonly concurrency?: number;
  /** Milliseconds. */
  readonly retryMin?: number;
  readonly retryMax?: number;
}

export class KeyedQueue implements Service {
  readonly name: string;
  readonly #options: KeyedQueueOptions;
  readonly #work: (key: string, signal: AbortSignal) => Promise<void>;
  readonly #log: Log;
  readonly #waiting = new Set<string>();
  readonly #busy = new Set<string>();
  readonly #again = new Set<string>();
  readonly #retries = new Map<string, { readonly backoff: Backoff; timer: NodeJS.Timeout | undefined }>();
  #signal: AbortSignal | undefined;
  #health: Omit<WorkHealth, 'name'> = {
    lastSuccess: undefined,
    lastFailure: undefined,
    lastError: undefined,
    successes: 0,
    failures: 0,
    consecutiveFailures: 0,
  };

  constructor(
    options: KeyedQueueOptions,
    modules: { work: (key: string, signal: AbortSignal) => Promise<void>; log: Log },
  ) {
    this.name = options.name;
    this.#options = options;
    this.#work = modules.work;
    this.#log = modules.log;
  }

  start(signal: AbortSignal): void {
    this.#signal = signal;
    signal.addEventListener('abort', () => {
      for (const retry of this.#retries.values()) clearTimeout(retry.timer);
    });
    this.#pump();
  }

  health(): WorkHealth {
    return { name: this.name, ...this.#health };
  }

  /** A key that is being worked on is done once more afterwards. */
  add(key: string): void {
    if (this.#busy.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#pump();
  }

  #pump(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    for (const key of this.#waiting) {
      if (this.#busy.size >= (this.#options.concurrency ?? 4)) return;
      this.#waiting.delete(key);
      this.#busy.add(key);
      void this.#run(key, signal);
    }
  }

  async #run(key: string, signal: AbortSignal): Promise<void> {
    clearTimeout(this.#retries.get(key)?.timer);
    try {
      await this.#work(key, signal);
      this.#retries.delete(key);
      this.#health = {
        ...this.#health,
        lastSuccess: Date.now(),
        lastError: this.#retries.size === 0 ? undefined : this.#health.lastError,
        successes: this.#health.successes + 1,
        consecutiveFailures: 0,
      };
    } catch (error) {
      if (!signal.aborted) this.#failed(key, error);
    } finally {
      this.#busy.delete(key);
      if (this.#again.delete(key)) this.#waiting.add(key);
      this.#pump();
    }
  }

  #failed(key: string, error: unknown): void {
    this.#health = {
      ...this.#health,
      lastFailure: Date.now(),
      lastError: describe(error),
      failures: this.#health.failures + 1,
      consecutiveFailures: this.#health.consecutiveFailures + 1,
    };
    this.#log.warn('will try again', { controller: this.name, key, error: describe(error) });
    const range = { min: this.#options.retryMin ?? 200, max: this.#options.retryMax ?? 30_000 };
    const retry = this.#retries.get(key) ?? { backoff: new Backoff(range), timer: undefined };
    retry.timer = setTimeout(() => this.add(key), retry.backoff.take());
    this.#retries.set(key, retry);
  }
}
