import { backoff, RetryQueue, type Work } from './retry-queue.ts';
import { done, errorText, failed } from './status.ts';
import type {
  ChangeCursor,
  Clock,
  Database,
  Operations,
  Reconcilable,
  ReconcilerHealth,
  ReconcilerOptions,
  RWTable,
} from './types.ts';

export interface ReconcilerMetrics {
  /** `milliseconds` by the Clock. */
  operations(kind: 'update' | 'delete' | 'prune', count: number, errors: number, milliseconds: number): void;
}

export interface ReconcilerModules<Row extends Reconcilable, Index extends string> {
  readonly table: RWTable<Row, Index>;
  readonly database: Database;
  readonly operations: Operations<Row>;
  readonly clock: Clock;
  /** 0 to 1; spreads retries. Default: always 0. */
  readonly random?: () => number;
  /** `key` is undefined when a prune failed. */
  readonly onError?: (error: unknown, key: string | undefined) => void;
  readonly metrics?: ReconcilerMetrics;
}

type Outcome = Error | undefined;

/**
 * Brings a table to a target through its Operations: in the order of the changes, one operation at a time, failures again
 * later, the outcome as `status` in the row. The only writer of `status`.
 */
export class Reconciler<Row extends Reconcilable, Index extends string = string> {
  readonly #options: Required<ReconcilerOptions>;
  readonly #modules: ReconcilerModules<Row, Index>;
  readonly #ready = new Map<string, Work<Row>>();
  readonly #retries = new RetryQueue<Row>();
  /** Rows that this reconciler wrote since it last read the table: their change is no work. */
  readonly #own = new Set<Row>();
  readonly #settledWaiters = new Set<() => void>();
  #cursor: ChangeCursor<Row> | undefined;
  #unsubscribe: (() => void) | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelPruneTimer: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #scheduled = false;
  /** The table was written since the last look at it. */
  #dirty = false;
  #inFlight = 0;
  #pruneWanted = true;
  #pruneNotBefore = 0;
  #pruneAttempts = 0;
  #pruned = false;
  #lastError: string | undefined;
  #lastSuccess: number | undefined;
  #consecutiveFailures = 0;

  constructor(options: ReconcilerOptions, modules: ReconcilerModules<Row, Index>) {
    this.#options = { retryMin: 100, retryMax: 60_000, batchSize: 1000, pruneInterval: 0, ...options };
    this.#modules = modules;
  }

  start(): void {
    if (this.#cursor !== undefined) return;
    this.#cursor = this.#modules.table.changes();
    this.#unsubscribe = this.#modules.table.subscribe(() => this.#schedule());
    this.#schedule();
  }

  /** Resolves when the operation that is running has ended; what was not done stays pending. */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#cursor?.close();
    this.#cursor = undefined;
    this.#cancelTimer?.();
    this.#cancelPruneTimer?.();
    await this.#running;
  }

  health(): ReconcilerHealth {
    return {
      name: this.#options.name,
      pending: this.#ready.size + this.#inFlight,
      failing: this.#retries.size,
      lastError: this.#lastError,
      lastSuccess: this.#lastSuccess,
      consecutiveFailures: this.#consecutiveFailures,
      pruned: this.#pruned,
    };
  }

  /** Resolves when every change so far is done, nothing fails, and the prune that is wanted and possible has run. */
  settled(): Promise<void> {
    return new Promise(resolve => {
      this.#settledWaiters.add(resolve);
      this.#schedule();
    });
  }

  /** Asks for a prune as soon as the table is initialized and no work is waiting. */
  prune(): void {
    this.#pruneWanted = true;
    this.#pruneNotBefore = 0;
    this.#schedule();
  }

  #schedule(): void {
    this.#dirty = true;
    if (this.#scheduled || this.#running !== undefined || this.#cursor === undefined) return;
    this.#scheduled = true;
    this.#modules.clock.after(0, () => {
      this.#scheduled = false;
      if (this.#cursor === undefined || this.#running !== undefined) return;
      this.#running = this.#run()
        .catch(thrown => this.#noteError(toError(thrown), undefined))
        .finally(() => {
          this.#running = undefined;
          this.#afterRun();
        });
    });
  }

  async #run(): Promise<void> {
    for (let first = true; this.#cursor !== undefined; first = false) {
      this.#takeWork(this.#cursor);
      if (this.#ready.size === 0) {
        if (!this.#pruneDue()) return;
        await this.#runPrune();
        continue;
      }
      if (!first) await new Promise<void>(resolve => this.#modules.clock.after(0, resolve));
      if (this.#cursor !== undefined) await this.#runBatch();
    }
  }

  /** New changes replace whatever older work there is for their key. */
  #takeWork(cursor: ChangeCursor<Row>): void {
    this.#dirty = false;
    for (const { key, row, deleted } of cursor.next()) {
      if (!deleted && (this.#own.has(row) || isRefused(row))) continue;
      this.#retries.drop(key);
      this.#ready.delete(key);
      this.#ready.set(key, { key, row, deleted, attempts: 0 });
    }
    this.#own.clear();
    for (const work of this.#retries.takeDue(this.#modules.clock.now())) this.#ready.set(work.key, work);
  }

  async #runBatch(): Promise<void> {
    const batch: Work<Row>[] = [];
    for (const work of this.#ready.values()) {
      if (batch.length === this.#options.batchSize) break;
      batch.push(work);
      this.#ready.delete(work.key);
    }
    this.#inFlight = batch.length;
    for (let from = 0; from < batch.length; ) {
      const deleted = batch[from]?.deleted === true;
      let to = from + 1;
      while (to < batch.length && batch[to]?.deleted === deleted) to += 1;
      const part = batch.slice(from, to);
      const ok = done(this.#modules.clock.now());
      // As the table will have them, so that what operations keep of a row is not a copy.
      const rows = part.map(({ row }) => (deleted ? row : { ...row, status: ok }));
      this.#record(part, deleted, rows, await this.#apply(rows, deleted));
      this.#inFlight -= part.length;
      from = to;
    }
  }

  async #apply(rows: readonly Row[], deleted: boolean): Promise<readonly Outcome[]> {
    const { operations, clock, metrics } = this.#modules;
    const began = clock.now();
    const bulk = deleted ? operations.deleteBatch?.bind(operations) : operations.updateBatch?.bind(operations);
    let outcomes: readonly Outcome[];
    if (bulk === undefined) {
      outcomes = await this.#applyEach(rows, deleted);
    } else {
      try {
        outcomes = await bulk(rows);
      } catch (thrown) {
        outcomes = rows.map(() => toError(thrown));
      }
    }
    const errors = outcomes.filter(outcome => outcome !== undefined).length;
    metrics?.operations(deleted ? 'delete' : 'update', rows.length, errors, clock.now() - began);
    return outcomes;
  }

  async #applyEach(rows: readonly Row[], deleted: boolean): Promise<readonly Outcome[]> {
    const { operations } = this.#modules;
    const outcomes: Outcome[] = [];
    for (const row of rows) {
      try {
        const promise = deleted ? operations.delete(row) : operations.update(row);
        if (promise !== undefined) await promise;
        outcomes.push(undefined);
      } catch (thrown) {
        outcomes.push(toError(thrown));
      }
    }
    return outcomes;
  }

  #record(part: readonly Work<Row>[], deleted: boolean, rows: readonly Row[], outcomes: readonly Outcome[]): void {
    const now = this.#modules.clock.now();
    const current = deleted ? rows : this.#writeStatus(part, rows, outcomes);
    part.forEach((work, i) => {
      const error = outcomes[i];
      if (error !== undefined) this.#failed({ ...work, row: current[i] ?? work.row }, error, now);
    });
    if (outcomes.some(outcome => outcome === undefined)) this.#succeeded(now);
  }

  /** The rows of the part as the table has them now; one that has changed meanwhile comes again as a change. */
  #writeStatus(part: readonly Work<Row>[], rows: readonly Row[], outcomes: readonly Outcome[]): readonly Row[] {
    const { table, database, clock } = this.#modules;
    const now = clock.now();
    return database.write(txn =>
      part.map((work, i) => {
        if (table.get(work.key) !== work.row) return work.row;
        const error = outcomes[i];
        const finished = error === undefined ? rows[i] : undefined;
        const row = finished ?? { ...work.row, status: failed(now, error?.message ?? '', work.attempts + 1) };
        this.#own.add(row);
        table.insert(txn, row);
        return row;
      }),
    );
  }

  #failed(work: Work<Row>, error: Error, now: number): void {
    const { retryMin, retryMax } = this.#options;
    const delay = backoff(work.attempts, retryMin, retryMax, this.#modules.random ?? (() => 0));
    this.#retries.add({ ...work, attempts: work.attempts + 1 }, now + delay);
    this.#noteError(error, work.key);
  }

  #noteError(error: Error, key: string | undefined): void {
    this.#lastError = error.message;
    this.#consecutiveFailures += 1;
    this.#modules.onError?.(error, key);
  }

  #succeeded(now: number): void {
    this.#lastSuccess = now;
    this.#consecutiveFailures = 0;
  }

  #pruneDue(): boolean {
    const { table, operations, clock } = this.#modules;
    if (!this.#pruneWanted || !table.initialized || this.#pruneNotBefore > clock.now()) return false;
    if (operations.prune !== undefined) return true;
    this.#pruneWanted = false;
    this.#pruned = true;
    return false;
  }

  async #runPrune(): Promise<void> {
    const { table, operations, clock, metrics } = this.#modules;
    const began = clock.now();
    this.#pruneWanted = false;
    try {
      await operations.prune?.(table.all());
      this.#pruned = true;
      this.#pruneAttempts = 0;
      this.#succeeded(clock.now());
      if (this.#options.pruneInterval > 0) {
        this.#cancelPruneTimer = clock.after(this.#options.pruneInterval, () => this.prune());
      }
      metrics?.operations('prune', 1, 0, clock.now() - began);
    } catch (thrown) {
      const { retryMin, retryMax } = this.#options;
      this.#pruneWanted = true;
      this.#pruneNotBefore =
        clock.now() + backoff(this.#pruneAttempts, retryMin, retryMax, this.#modules.random ?? (() => 0));
      this.#pruneAttempts += 1;
      this.#noteError(toError(thrown), undefined);
      metrics?.operations('prune', 1, 1, clock.now() - began);
    }
  }

  /** Sets the timer for what is due later, and tells those who wait for the end of it all. */
  #afterRun(): void {
    if (this.#cursor === undefined) return;
    if (this.#dirty) {
      this.#schedule();
      return;
    }
    const { clock, table } = this.#modules;
    const pruneWaits = this.#pruneWanted && table.initialized && this.#modules.operations.prune !== undefined;
    const due = [this.#retries.nextDue(), pruneWaits ? this.#pruneNotBefore : undefined].filter(t => t !== undefined);
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (due.length > 0) {
      const delay = Math.max(1, Math.min(...due) - clock.now());
      this.#cancelTimer = clock.after(delay, () => this.#schedule());
      return;
    }
    for (const resolve of this.#settledWaiters) resolve();
    this.#settledWaiters.clear();
  }
}

function isRefused({ status }: Reconcilable): boolean {
  return status.kind === 'error' && status.attempts === 0;
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(errorText(thrown));
}
