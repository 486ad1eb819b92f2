import { TableError } from './errors.ts';
import type { Change, ChangeCursor } from './types.ts';

/** The newest state of one key, linked to its neighbours in order of revision. */
export interface Node<Row> {
  readonly key: string;
  row: Row;
  deleted: boolean;
  revision: number;
  previous: Node<Row> | undefined;
  next: Node<Row> | undefined;
}

interface OpenCursor {
  /** Changes up to here need no telling: seen, or deleted before the cursor was opened. */
  seen: number;
}

/**
 * All keys of a table in order of their newest revision, the oldest first. Deleted rows stay (the graveyard) until every
 * open cursor has told them. Reading what changed costs what changed, not what there is.
 */
export class ChangeList<Row> {
  #newest: Node<Row> | undefined;
  readonly #dead = new Map<string, Node<Row>>();
  readonly #cursors = new Set<OpenCursor>();

  /** Deleted rows that some cursor still has to see. */
  get graveyardSize(): number {
    return this.#dead.size;
  }

  get revision(): number {
    return this.#newest?.revision ?? 0;
  }

  /** The deleted node of a key, so that a row that comes back takes its place. */
  revive(key: string): Node<Row> | undefined {
    const node = this.#dead.get(key);
    this.#dead.delete(key);
    return node;
  }

  /** Puts a node at the newest end, wherever it was. */
  touch(node: Node<Row>): void {
    if (this.#newest === node) return;
    this.#unlink(node);
    node.previous = this.#newest;
    if (this.#newest !== undefined) this.#newest.next = node;
    this.#newest = node;
  }

  /** Keeps a node that was marked deleted for the cursors that need it. */
  bury(node: Node<Row>): void {
    this.touch(node);
    this.#dead.set(node.key, node);
  }

  /** Lets go of the deleted rows that every cursor has seen. */
  collect(): void {
    let seen = Number.POSITIVE_INFINITY;
    for (const cursor of this.#cursors) seen = Math.min(seen, cursor.seen);
    for (const [key, node] of this.#dead) {
      if (node.revision > seen) return;
      this.#dead.delete(key);
      this.#unlink(node);
    }
  }

  cursor(table: string, revision: () => number): ChangeCursor<Row> {
    const position: OpenCursor = { seen: revision() };
    let told = 0;
    let open = true;
    this.#cursors.add(position);
    return {
      next: () => {
        if (!open) throw new TableError('CURSOR_CLOSED', { table }, `a closed cursor of ${table} was read`);
        const changes = this.#since(told, position.seen);
        told = Math.max(told, this.revision);
        position.seen = Math.max(position.seen, told);
        this.collect();
        return changes;
      },
      close: () => {
        open = false;
        this.#cursors.delete(position);
        this.collect();
      },
    };
  }

  /** Nodes newer than `told`; deleted ones only when they are newer than `buried` too. */
  #since(told: number, buried: number): readonly Change<Row>[] {
    const changes: Change<Row>[] = [];
    for (let node = this.#newest; node !== undefined && node.revision > told; node = node.previous) {
      if (node.deleted && node.revision <= buried) continue;
      changes.push({ key: node.key, row: node.row, deleted: node.deleted, revision: node.revision });
    }
    return changes.reverse();
  }

  #unlink(node: Node<Row>): void {
    if (node.previous !== undefined) node.previous.next = node.next;
    if (node.next !== undefined) node.next.previous = node.previous;
    if (this.#newest === node) this.#newest = node.previous;
    node.previous = undefined;
    node.next = undefined;
  }
}
