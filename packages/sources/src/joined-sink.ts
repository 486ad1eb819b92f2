/** Two resources that make one row: a Node and the CiliumNode of the same name. */
import { isDeepStrictEqual } from 'node:util';
import type { Database, RWTable, WriteTxn } from '@ciliate/tables';
import { type KubeObject, objectKey } from './kube-object.ts';
import type { Sink } from './reflector.ts';
import type { SourceLog } from './table-sink.ts';

export interface JoinedSinksOptions<Row> {
  readonly names: readonly [string, string];
  /** At least one of the two is there. Undefined: no row yet. Throws for objects that are not valid. */
  readonly join: (first: KubeObject | undefined, second: KubeObject | undefined) => Row | undefined;
}

/** One writer of the table, fed by two reflectors. Each side is an initializer of its own. */
export class JoinedSinks<Row, Index extends string = string> {
  readonly first: Sink;
  readonly second: Sink;
  readonly #options: JoinedSinksOptions<Row>;
  readonly #modules: { db: Database; table: RWTable<Row, Index>; log: SourceLog };
  readonly #rowKeys = new Map<string, string>();

  constructor(options: JoinedSinksOptions<Row>, modules: { db: Database; table: RWTable<Row, Index>; log: SourceLog }) {
    this.#options = options;
    this.#modules = modules;
    const first = new Map<string, KubeObject>();
    const second = new Map<string, KubeObject>();
    const update = (txn: WriteTxn, key: string): void => this.#update(txn, key, first.get(key), second.get(key));
    this.first = new Side(first, modules.db, modules.table.registerInitializer(options.names[0]), update);
    this.second = new Side(second, modules.db, modules.table.registerInitializer(options.names[1]), update);
  }

  #update(txn: WriteTxn, key: string, first: KubeObject | undefined, second: KubeObject | undefined): void {
    const { table, log } = this.#modules;
    let row: Row | undefined;
    try {
      row = first === undefined && second === undefined ? undefined : this.#options.join(first, second);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log('object is not valid, skipped', { source: this.#options.names.join('+'), object: key, error: why });
      return;
    }
    const before = this.#rowKeys.get(key);
    if (row === undefined) {
      if (before !== undefined) table.delete(txn, before);
      this.#rowKeys.delete(key);
      return;
    }
    const rowKey = table.spec.key(row);
    this.#rowKeys.set(key, rowKey);
    if (!isDeepStrictEqual(table.get(rowKey), row)) table.insert(txn, row);
  }
}

class Side implements Sink {
  readonly #objects: Map<string, KubeObject>;
  readonly #db: Database;
  readonly #update: (txn: WriteTxn, key: string) => void;
  #report: ((txn: WriteTxn) => void) | undefined;

  constructor(
    objects: Map<string, KubeObject>,
    db: Database,
    report: (txn: WriteTxn) => void,
    update: (txn: WriteTxn, key: string) => void,
  ) {
    this.#objects = objects;
    this.#db = db;
    this.#report = report;
    this.#update = update;
  }

  replace(objects: readonly KubeObject[]): void {
    this.#db.write(txn => {
      const gone = new Set(this.#objects.keys());
      for (const object of objects) {
        const key = objectKey(object);
        gone.delete(key);
        this.#objects.set(key, object);
        this.#update(txn, key);
      }
      for (const key of gone) {
        this.#objects.delete(key);
        this.#update(txn, key);
      }
      this.#report?.(txn);
    });
    this.#report = undefined;
  }

  apply(object: KubeObject): void {
    const key = objectKey(object);
    this.#objects.set(key, object);
    this.#db.write(txn => this.#update(txn, key));
  }

  remove(object: KubeObject): void {
    const key = objectKey(object);
    this.#objects.delete(key);
    this.#db.write(txn => this.#update(txn, key));
  }
}
