import { ChangeList, type Node } from './change-list.ts';
import { TableError } from './errors.ts';
import { intern } from './intern.ts';
import type { ChangeCursor, RWTable, TableSpec, WriteTxn } from './types.ts';

/** What a table needs of its database, and not more. */
export interface TableHost {
  /** Throws TRANSACTION_CLOSED unless `txn` is the open transaction; notes that the table takes part in it. */
  join(txn: WriteTxn, participant: Participant): void;
  nextRevision(): number;
  /** Revision of the last transaction that ended. */
  committed(): number;
}

/** A table in a transaction: either commit or rollback is called, once, and neither throws. */
export interface Participant {
  /** True when there was anything to tell subscribers. */
  commit(): boolean;
  rollback(): void;
  readonly wakes: ReadonlySet<() => void>;
}

interface Staged<Row> {
  /** undefined: deleted. */
  readonly row: Row | undefined;
  readonly revision: number;
  readonly indexKeys: readonly (readonly string[])[];
}

const none: readonly never[] = [];

/** A table whose writes are staged beside the rows until the transaction ends. Made by Database.table. */
export class MemoryTable<Row, Index extends string> implements RWTable<Row, Index>, Participant {
  readonly spec: TableSpec<Row, Index>;
  readonly wakes = new Set<() => void>();
  readonly #host: TableHost;
  readonly #rows = new Map<string, Node<Row>>();
  readonly #changes = new ChangeList<Row>();
  readonly #staged = new Map<string, Staged<Row>>();
  readonly #indexNames: readonly Index[];
  readonly #indexOf: readonly ((row: Row) => readonly string[])[];
  readonly #indexes: readonly Map<string, OneOrMore<Row>>[];
  readonly #waiting = new Set<string>();
  #reporting: string[] = [];

  constructor(spec: TableSpec<Row, Index>, host: TableHost) {
    this.spec = spec;
    this.#host = host;
    const indexes = Object.entries<(row: Row) => readonly string[]>(spec.indexes ?? {});
    this.#indexNames = indexes.map(([name]) => name as Index);
    this.#indexOf = indexes.map(([, valuesOf]) => valuesOf);
    this.#indexes = indexes.map(() => new Map());
  }

  get size(): number {
    return this.#rows.size;
  }

  get revision(): number {
    return this.#changes.revision;
  }

  /** Deleted rows kept for cursors; for tests and health. */
  get graveyardSize(): number {
    return this.#changes.graveyardSize;
  }

  get(key: string): Row | undefined {
    return this.#rows.get(key)?.row;
  }

  peek(txn: WriteTxn, key: string): Row | undefined {
    this.#host.join(txn, this);
    return this.#seen(key);
  }

  all(): readonly Row[] {
    return Array.from(this.#rows.values(), node => node.row);
  }

  by(index: Index, value: string): readonly Row[] {
    const nodes = this.#indexes[this.#indexNames.indexOf(index)]?.get(value);
    if (nodes === undefined) return none;
    return nodes instanceof Set ? Array.from(nodes, node => node.row) : [nodes.row];
  }

  changes(): ChangeCursor<Row> {
    return this.#changes.cursor(this.spec.name, () => this.#host.committed());
  }

  subscribe(wake: () => void): () => void {
    // A function of its own, so that two subscriptions of one callback stay two.
    const own = () => wake();
    this.wakes.add(own);
    return () => {
      this.wakes.delete(own);
    };
  }

  get initialized(): boolean {
    return this.#waiting.size === 0;
  }

  get pendingInitializers(): readonly string[] {
    return [...this.#waiting];
  }

  insert(txn: WriteTxn, row: Row): Row | undefined {
    this.#host.join(txn, this);
    const key = this.spec.key(row);
    const before = this.#seen(key);
    const indexKeys = this.#indexOf.length === 0 ? none : this.#indexOf.map(valuesOf => valuesOf(row));
    this.#stage(key, { row, revision: this.#host.nextRevision(), indexKeys });
    return before;
  }

  delete(txn: WriteTxn, key: string): Row | undefined {
    this.#host.join(txn, this);
    const before = this.#seen(key);
    if (before === undefined) return undefined;
    this.#stage(key, { row: undefined, revision: this.#host.nextRevision(), indexKeys: none });
    return before;
  }

  compareAndSwap(txn: WriteTxn, expected: Row, row: Row): boolean {
    this.#host.join(txn, this);
    if (this.#seen(this.spec.key(expected)) !== expected) return false;
    this.insert(txn, row);
    return true;
  }

  registerInitializer(name: string): (txn: WriteTxn) => void {
    let unique = name;
    for (let n = 2; this.#waiting.has(unique); n += 1) unique = `${name}#${n}`;
    this.#waiting.add(unique);
    return txn => {
      this.#host.join(txn, this);
      if (!this.#waiting.has(unique) || this.#reporting.includes(unique)) {
        const details = { table: this.spec.name, initializer: unique };
        throw new TableError('INITIALIZER_REPORTED', details, `initializer ${unique} has reported already`);
      }
      this.#reporting.push(unique);
    };
  }

  commit(): boolean {
    const changed = this.#staged.size > 0 || this.#reporting.length > 0;
    for (const [key, staged] of this.#staged) {
      if (staged.row === undefined) this.#remove(key, staged.revision);
      else this.#put(key, staged.row, staged);
    }
    for (const name of this.#reporting) this.#waiting.delete(name);
    this.rollback();
    this.#changes.collect();
    return changed;
  }

  rollback(): void {
    this.#staged.clear();
    this.#reporting = [];
  }

  #seen(key: string): Row | undefined {
    const staged = this.#staged.get(key);
    return staged === undefined ? this.#rows.get(key)?.row : staged.row;
  }

  /** Deleted first: the staged writes must stay in order of revision. */
  #stage(key: string, staged: Staged<Row>): void {
    this.#staged.delete(key);
    this.#staged.set(key, staged);
  }

  #put(key: string, row: Row, { revision, indexKeys }: Staged<Row>): void {
    let node = this.#rows.get(key);
    if (node === undefined) {
      node = this.#changes.revive(key) ?? emptyNode(intern(key), row);
      this.#rows.set(node.key, node);
    } else this.#unindex(node);
    this.#index(node, indexKeys);
    node.row = row;
    node.deleted = false;
    node.revision = revision;
    this.#changes.touch(node);
  }

  #remove(key: string, revision: number): void {
    const node = this.#rows.get(key);
    if (node === undefined) return;
    this.#rows.delete(key);
    this.#unindex(node);
    node.deleted = true;
    node.revision = revision;
    this.#changes.bury(node);
  }

  /** Asks the spec again for the values under which the node's row is found: kept, they would be a third of a table. */
  #unindex(node: Node<Row>): void {
    this.#indexes.forEach((index, i) => {
      for (const value of this.#indexOf[i]?.(node.row) ?? none) {
        const nodes = index.get(value);
        if (nodes instanceof Set) nodes.delete(node);
        if (nodes === node || (nodes instanceof Set && nodes.size === 0)) index.delete(value);
      }
    });
  }

  #index(node: Node<Row>, indexKeys: readonly (readonly string[])[]): void {
    this.#indexes.forEach((index, i) => {
      for (const value of indexKeys[i] ?? none) {
        const nodes = index.get(value);
        if (nodes === undefined) index.set(intern(value), node);
        else if (nodes instanceof Set) nodes.add(node);
        else if (nodes !== node) index.set(value, new Set([nodes, node]));
      }
    });
  }
}

/** Most values have one row, and a Set for it would be most of the index. */
type OneOrMore<Row> = Node<Row> | Set<Node<Row>>;

function emptyNode<Row>(key: string, row: Row): Node<Row> {
  return { key, row, deleted: false, revision: 0, previous: undefined, next: undefined };
}
