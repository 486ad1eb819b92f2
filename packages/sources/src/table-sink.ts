/** Objects of one resource → rows of one table. */
import { type Database, deepEqual, type RWTable, type WriteTxn } from '@ciliate/tables';
import { type KubeObject, objectKey } from './kube-object.ts';
import type { Pages, Sink } from './reflector.ts';

export type SourceLog = (message: string, data: Readonly<Record<string, unknown>>) => void;

export function logSkipped(log: SourceLog, source: string, object: string, error: unknown): void {
  const why = error instanceof Error ? error.message : String(error);
  log('object is not valid, skipped', { source, object, error: why });
}

export interface TableSinkOptions<Row> {
  /** Name of the initializer. */
  readonly name: string;
  /** Undefined: this object is none of our business. Throws for an object that is not valid. */
  readonly parse: (object: KubeObject) => Row | undefined;
  /** Key of the row that an object makes. Default: the object's own, 'namespace/name'. */
  readonly key?: (object: KubeObject) => string;
  /** True for rows that somebody else has put into the table: a list takes them not away. */
  readonly foreign?: (row: Row) => boolean;
}

export interface TableSinkModules<Row, Index extends string> {
  readonly db: Database;
  readonly table: RWTable<Row, Index>;
  readonly log: SourceLog;
}

/** What an object came to. `kept`: it is not valid, and the row of its last valid version stays. */
type Outcome<Row> = { readonly row: Row } | 'none' | 'kept';

/**
 * Keeps a table equal to what the API server has. An object that does not parse is logged and skipped, and the row of
 * its last valid version stays; rows that did not change are not written, so that a status heartbeat wakes nobody.
 */
export class TableSink<Row, Index extends string = string> implements Sink {
  readonly #options: TableSinkOptions<Row>;
  readonly #modules: TableSinkModules<Row, Index>;
  readonly #keyOf: (object: KubeObject) => string;
  #report: ((txn: WriteTxn) => void) | undefined;

  constructor(options: TableSinkOptions<Row>, modules: TableSinkModules<Row, Index>) {
    this.#options = options;
    this.#modules = modules;
    this.#keyOf = options.key ?? objectKey;
    this.#report = modules.table.registerInitializer(options.name);
  }

  replace(objects: readonly KubeObject[]): void {
    const pages = this.pages();
    pages.add(objects);
    pages.end();
  }

  /** Keeps the rows of the pages, not their objects. */
  pages(): Pages {
    const found = new Map<string, Row | undefined>();
    const add = (object: KubeObject): void => {
      const outcome = this.#parse(object);
      if (outcome !== 'none') found.set(this.#keyOf(object), outcome === 'kept' ? undefined : outcome.row);
    };
    return { add: objects => objects.forEach(add), end: () => this.#replace(found) };
  }

  apply(object: KubeObject): void {
    const outcome = this.#parse(object);
    if (outcome === 'kept') return;
    const { db, table } = this.#modules;
    db.write(txn => {
      if (outcome === 'none') table.delete(txn, this.#keyOf(object));
      else this.#put(txn, this.#keyOf(object), outcome.row);
    });
  }

  remove(object: KubeObject): void {
    const { db, table } = this.#modules;
    db.write(txn => void table.delete(txn, this.#keyOf(object)));
  }

  #replace(found: ReadonlyMap<string, Row | undefined>): void {
    const { db, table } = this.#modules;
    const { foreign } = this.#options;
    db.write(txn => {
      for (const row of table.all()) {
        const key = table.spec.key(row);
        if (!found.has(key) && foreign?.(row) !== true) table.delete(txn, key);
      }
      for (const [key, row] of found) if (row !== undefined) this.#put(txn, key, row);
      this.#report?.(txn);
    });
    this.#report = undefined;
  }

  #parse(object: KubeObject): Outcome<Row> {
    try {
      const row = this.#options.parse(object);
      return row === undefined ? 'none' : { row };
    } catch (error) {
      logSkipped(this.#modules.log, this.#options.name, objectKey(object), error);
      return 'kept';
    }
  }

  #put(txn: WriteTxn, key: string, row: Row): void {
    const { table } = this.#modules;
    if (!deepEqual(table.get(key), row)) table.insert(txn, row);
  }
}
