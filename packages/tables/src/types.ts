/**
 * The table between two rooms (STYLE rules 1, 3). Rows are readonly values; a write happens inside a synchronous
 * transaction and is seen by readers only when the transaction has ended; a transaction that throws changes nothing.
 */

/** How a table finds its rows. Keys are strings: the primary key is unique, an index may name several rows. */
export interface TableSpec<Row, Index extends string = string> {
  /** Plural, as shown by `ciliate shell` and in tests. */
  readonly name: string;
  readonly key: (row: Row) => string;
  /** Pure: asked when a row comes, and again when it goes. */
  readonly indexes?: Readonly<Record<Index, (row: Row) => readonly string[]>>;
  /** Columns for text scenarios and `db/cmp`; the default is every field. */
  readonly columns?: Readonly<Record<string, (row: Row) => string>>;
}

/** One change since a revision: the newest row of a key, or its last row with `deleted` true. */
export interface Change<Row> {
  readonly key: string;
  readonly row: Row;
  readonly deleted: boolean;
  /** Revision of the transaction that made the change. Revisions grow by one per row written, database-wide. */
  readonly revision: number;
}

/** A position in a table's changes. While it is open, deleted rows that it has not seen are kept. */
export interface ChangeCursor<Row> {
  /** All changes since the last call, oldest first, one per key (the newest). */
  next(): readonly Change<Row>[];
  close(): void;
}

/** What everyone but the writer gets. */
export interface Table<Row, Index extends string = string> {
  readonly spec: TableSpec<Row, Index>;
  readonly size: number;
  /** Revision of the newest change in this table, 0 when it was never written. */
  readonly revision: number;
  get(key: string): Row | undefined;
  /** Rows in no particular order; a snapshot as of the call. */
  all(): readonly Row[];
  by(index: Index, value: string): readonly Row[];
  /** A cursor that begins before the first change: its first next() gives every row there is. */
  changes(): ChangeCursor<Row>;
  /** `wake` is called after a transaction that changed this table or its initialization; no arguments: read the table. */
  subscribe(wake: () => void): () => void;
  /** False until every registered initializer has reported, so that prune and compilers can wait for whole state. */
  readonly initialized: boolean;
  /** Names of the initializers that have not reported. */
  readonly pendingInitializers: readonly string[];
}

/** What the one writer gets. Its methods need the open transaction. */
export interface RWTable<Row, Index extends string = string> extends Table<Row, Index> {
  /** Inserts or replaces; returns the row that was there. */
  insert(txn: WriteTxn, row: Row): Row | undefined;
  /** Removes by key; returns the row that was there, undefined when there was none. */
  delete(txn: WriteTxn, key: string): Row | undefined;
  /** The row as this transaction sees it, its own writes included; `get` gives the one from before it. */
  peek(txn: WriteTxn, key: string): Row | undefined;
  /** Replaces only if the row is still `expected` (same object). True when it did. */
  compareAndSwap(txn: WriteTxn, expected: Row, row: Row): boolean;
  /** Registers a source that must deliver its first list. Call the returned function once, inside a transaction. */
  registerInitializer(name: string): (txn: WriteTxn) => void;
}

/** An open transaction: only Database.write makes one, and it is dead when its callback returns. */
export interface WriteTxn {
  readonly revision: number;
}

/** Holds tables; writes are synchronous and never nested. */
export interface Database {
  /** Creates a table. Throws TableError DUPLICATE_TABLE. */
  table<Row, Index extends string = never>(spec: TableSpec<Row, Index>): RWTable<Row, Index>;
  tables(): readonly Table<unknown>[];
  /** Runs `body`; all of its writes become visible together, or none when it throws. An async body does not type-check. */
  write<Result>(body: (txn: WriteTxn) => Result extends PromiseLike<unknown> ? never : Result): Result;
}

/** A finger on the clock, so that pure code has no timers of its own. Milliseconds. */
export interface Clock {
  now(): number;
  /** Runs `run` once after `delay` ms; the result cancels it. */
  after(delay: number, run: () => void): () => void;
}

export type Status =
  | { readonly kind: 'pending'; readonly since: number }
  | { readonly kind: 'done'; readonly since: number }
  /** attempts 0: refused by the row's compiler; no operation runs for it. */
  | { readonly kind: 'error'; readonly since: number; readonly error: string; readonly attempts: number };

/** A desired row. Only the reconciler of its table writes `status`; a writer inserts `pending(now)`, or `refused`. */
export interface Reconcilable {
  readonly status: Status;
}

/** Effects of a table (STYLE rule 4). All idempotent. Throwing gives the row an error status and a retry. */
export interface Operations<Row> {
  update(row: Row): void | Promise<void>;
  delete(row: Row): void | Promise<void>;
  /** Removes from the target what `rows` does not have. Runs only when the table is initialized. */
  prune?(rows: readonly Row[]): void | Promise<void>;
  /** Optional bulk path: results in order, undefined = done, else the error of that row. */
  updateBatch?(rows: readonly Row[]): readonly (Error | undefined)[] | Promise<readonly (Error | undefined)[]>;
  deleteBatch?(rows: readonly Row[]): readonly (Error | undefined)[] | Promise<readonly (Error | undefined)[]>;
}

export interface ReconcilerOptions {
  readonly name: string;
  /** First and last retry delay, ms. Default 100 and 60000; doubles, with jitter from `random`. */
  readonly retryMin?: number;
  readonly retryMax?: number;
  /** Rows per batch before the event loop gets a turn. Default 1000. */
  readonly batchSize?: number;
  /** ms between repeated prunes; 0 = only once, when initialized. Default 0. */
  readonly pruneInterval?: number;
}

export interface ReconcilerHealth {
  readonly name: string;
  readonly pending: number;
  readonly failing: number;
  readonly lastError: string | undefined;
  readonly lastSuccess: number | undefined;
  readonly consecutiveFailures: number;
  readonly pruned: boolean;
}
