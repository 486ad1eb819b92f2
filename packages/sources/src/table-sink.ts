/** Objects of one resource → rows of one table. */
import { isDeepStrictEqual } from 'node:util';
import type { Database, RWTable, WriteTxn } from '@ciliate/tables';
import { type KubeObject, objectKey } from './kube-object.ts';
import type { Sink } from './reflector.ts';

export type SourceLog = (message: string, data: Readonly<Record<string, unknown>>) => void;

export interface TableSinkOptions<Row> {
  /** Name of the initializer. */
  readonly name: string;
  /** Undefined: this object is none of our business. Throws for an object that is not valid. */
  readonly parse: (object: KubeObject) => Row | undefined;
}

/**
 * Keeps a table equal to what the API server has. An object that does not parse is logged and skipped, and the row of
 * its last valid version stays; rows that did not change are not written, so that a status heartbeat wakes nobody.
 */
export class TableSink<Row, Index extends string = string> implements Sink {
  readonly #options: TableSinkOptions<Row>;
  readonly #db: Database;
  readonly #table: RWTable<Row, Index>;
  readonly #log: SourceLog;
  /** Object key → row key: what this source has put there. */
  readonly #owned = new Map<string, string>();
  #report: ((txn: WriteTxn) => void) | undefined;

  constructor(options: TableSinkOptions<Row>, modules: { db: Database; table: RWTable<Row, Index>; log: SourceLog }) {
    this.#options = options;
    this.#db = modules.db;
    this.#table = modules.table;
    this.#log = modules.log;
    this.#report = modules.table.registerInitializer(options.name);
  }

  replace(objects: readonly KubeObject[]): void {
    this.#db.write(txn => {
      const gone = new Set(this.#owned.keys());
      for (const object of objects) {
        gone.delete(objectKey(object));
        this.#put(txn, object);
      }
      for (const key of gone) this.#drop(txn, key);
      this.#report?.(txn);
    });
    this.#report = undefined;
  }

  apply(object: KubeObject): void {
    this.#db.write(txn => this.#put(txn, object));
  }

  remove(object: KubeObject): void {
    this.#db.write(txn => this.#drop(txn, objectKey(object)));
  }

  #put(txn: WriteTxn, object: KubeObject): void {
    const key = objectKey(object);
    let row: Row | undefined;
    try {
      row = this.#options.parse(object);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#log('object is not valid, skipped', { source: this.#options.name, object: key, error: why });
      return;
    }
    if (row === undefined) {
      this.#drop(txn, key);
      return;
    }
    const rowKey = this.#table.spec.key(row);
    this.#owned.set(key, rowKey);
    if (!isDeepStrictEqual(this.#table.get(rowKey), row)) this.#table.insert(txn, row);
  }

  #drop(txn: WriteTxn, key: string): void {
    const rowKey = this.#owned.get(key);
    if (rowKey === undefined) return;
    this.#owned.delete(key);
    this.#table.delete(txn, rowKey);
  }
}

/** Several sinks of one reflector, in order. */
export class FanOut implements Sink {
  readonly #sinks: readonly Sink[];

  constructor(...sinks: readonly Sink[]) {
    this.#sinks = sinks;
  }

  replace(objects: readonly KubeObject[]): void {
    for (const sink of this.#sinks) sink.replace(objects);
  }

  apply(object: KubeObject): void {
    for (const sink of this.#sinks) sink.apply(object);
  }

  remove(object: KubeObject): void {
    for (const sink of this.#sinks) sink.remove(object);
  }
}
