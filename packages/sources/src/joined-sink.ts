/** Two resources that make one row: a Node and the CiliumNode of the same name. */
import { type Database, deepEqual, type RWTable, type WriteTxn } from '@ciliate/tables';
import { type KubeObject, objectKey } from './kube-object.ts';
import type { Pages, Sink } from './reflector.ts';
import { logSkipped, type SourceLog } from './table-sink.ts';

/** One of the two resources. */
export interface JoinedHalf<Half> {
  readonly name: string;
  /** What is kept of an object. Throws for one that is not valid: then its last valid version stays. */
  readonly parse: (object: KubeObject) => Half;
}

export interface JoinedSinksOptions<First, Second, Row> {
  readonly first: JoinedHalf<First>;
  readonly second: JoinedHalf<Second>;
  /** At least one of the two is there. Undefined: no row yet. Throws for halves that make no valid row: the one before stays. */
  readonly join: (first: First | undefined, second: Second | undefined) => Row | undefined;
}

/** One writer of the table, fed by two reflectors. Each side is an initializer of its own. */
export class JoinedSinks<First, Second, Row, Index extends string = string> {
  readonly first: Sink;
  readonly second: Sink;

  constructor(
    options: JoinedSinksOptions<First, Second, Row>,
    modules: { readonly db: Database; readonly table: RWTable<Row, Index>; readonly log: SourceLog },
  ) {
    const { db, table, log } = modules;
    const first = new Map<string, First>();
    const second = new Map<string, Second>();
    const rowOf = (key: string): Row | undefined => {
      const halves = [first.get(key), second.get(key)] as const;
      return halves.every(half => half === undefined) ? undefined : options.join(...halves);
    };
    const update = (txn: WriteTxn, key: string): void => {
      try {
        const row = rowOf(key);
        if (row === undefined) table.delete(txn, key);
        else if (!deepEqual(table.get(key), row)) table.insert(txn, row);
      } catch (error) {
        logSkipped(log, `${options.first.name}+${options.second.name}`, key, error);
      }
    };
    this.first = new Side(options.first, first, { db, table, log, update });
    this.second = new Side(options.second, second, { db, table, log, update });
  }
}

interface SideModules<Row, Index extends string> {
  readonly db: Database;
  readonly table: RWTable<Row, Index>;
  readonly log: SourceLog;
  readonly update: (txn: WriteTxn, key: string) => void;
}

class Side<Half, Row, Index extends string> implements Sink {
  readonly #half: JoinedHalf<Half>;
  readonly #known: Map<string, Half>;
  readonly #modules: SideModules<Row, Index>;
  #report: ((txn: WriteTxn) => void) | undefined;

  constructor(half: JoinedHalf<Half>, known: Map<string, Half>, modules: SideModules<Row, Index>) {
    this.#half = half;
    this.#known = known;
    this.#modules = modules;
    this.#report = modules.table.registerInitializer(half.name);
  }

  replace(objects: readonly KubeObject[]): void {
    const pages = this.pages();
    pages.add(objects);
    pages.end();
  }

  pages(): Pages {
    const found = new Map<string, Half | undefined>();
    const add = (object: KubeObject): void => {
      const key = objectKey(object);
      found.set(key, this.#parse(object) ?? this.#known.get(key));
    };
    return { add: objects => objects.forEach(add), end: () => this.#replace(found) };
  }

  apply(object: KubeObject): void {
    const half = this.#parse(object);
    if (half === undefined) return;
    this.#known.set(objectKey(object), half);
    this.#modules.db.write(txn => this.#modules.update(txn, objectKey(object)));
  }

  remove(object: KubeObject): void {
    this.#known.delete(objectKey(object));
    this.#modules.db.write(txn => this.#modules.update(txn, objectKey(object)));
  }

  #replace(found: ReadonlyMap<string, Half | undefined>): void {
    const { db, update } = this.#modules;
    const keys = new Set([...this.#known.keys(), ...found.keys()]);
    this.#known.clear();
    for (const [key, half] of found) if (half !== undefined) this.#known.set(key, half);
    db.write(txn => {
      for (const key of keys) update(txn, key);
      this.#report?.(txn);
    });
    this.#report = undefined;
  }

  /** Undefined: not valid, and logged. */
  #parse(object: KubeObject): Half | undefined {
    try {
      return this.#half.parse(object);
    } catch (error) {
      logSkipped(this.#modules.log, this.#half.name, objectKey(object), error);
      return undefined;
    }
  }
}
