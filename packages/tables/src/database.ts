import { TableError } from './errors.ts';
import { MemoryTable, type Participant } from './table.ts';
import type { Database, RWTable, Table, TableSpec, WriteTxn } from './types.ts';

export interface DatabaseOptions {
  /** Told what a subscriber's wake threw: by then the transaction has ended, so its writer must not see it. */
  readonly onWakeError?: (error: unknown) => void;
}

/** An empty database in memory. */
export function createDatabase(options: DatabaseOptions = {}): Database {
  return new MemoryDatabase(options);
}

class MemoryDatabase implements Database {
  readonly #options: DatabaseOptions;
  readonly #tables = new Map<string, Table<unknown>>();
  readonly #wakes = new Set<() => void>();
  #open: { readonly txn: WriteTxn; readonly participants: Set<Participant> } | undefined;
  #committed = 0;
  #revision = 0;
  #waking = false;

  constructor(options: DatabaseOptions) {
    this.#options = options;
  }

  table<Row, Index extends string = never>(spec: TableSpec<Row, Index>): RWTable<Row, Index> {
    if (this.#tables.has(spec.name)) {
      throw new TableError('DUPLICATE_TABLE', { table: spec.name }, `there is a table ${spec.name} already`);
    }
    const table = new MemoryTable<Row, Index>(spec, {
      join: (txn, participant) => this.#join(spec.name, txn, participant),
      nextRevision: () => {
        this.#revision += 1;
        return this.#revision;
      },
      committed: () => this.#committed,
    });
    this.#tables.set(spec.name, table as unknown as Table<unknown>);
    return table;
  }

  tables(): readonly Table<unknown>[] {
    return [...this.#tables.values()];
  }

  write<Result>(body: (txn: WriteTxn) => Result extends PromiseLike<unknown> ? never : Result): Result {
    if (this.#open !== undefined) throw new TableError('NESTED_WRITE', {}, 'a transaction is open: pass its txn on');
    const revisionNow = () => this.#revision;
    const txn: WriteTxn = {
      get revision() {
        return revisionNow();
      },
    };
    const participants = new Set<Participant>();
    this.#open = { txn, participants };
    let result: Result;
    try {
      result = body(txn);
      if (isPromise(result)) throw new TableError('ASYNC_WRITE', {}, 'a transaction must end before anything awaits');
    } catch (error) {
      for (const participant of participants) participant.rollback();
      this.#revision = this.#committed;
      this.#open = undefined;
      throw error;
    }
    this.#commit(participants);
    return result;
  }

  #commit(participants: ReadonlySet<Participant>): void {
    this.#committed = this.#revision;
    for (const participant of participants) {
      if (participant.commit()) for (const wake of participant.wakes) this.#wakes.add(wake);
    }
    this.#open = undefined;
    this.#wake();
  }

  /** A wake may write: what that wakes is called by the loop that is already running, not inside the wake. */
  #wake(): void {
    if (this.#waking) return;
    this.#waking = true;
    for (const wake of this.#wakes) {
      this.#wakes.delete(wake);
      try {
        wake();
      } catch (error) {
        this.#options.onWakeError?.(error);
      }
    }
    this.#waking = false;
  }

  #join(table: string, txn: WriteTxn, participant: Participant): void {
    if (this.#open?.txn !== txn) {
      throw new TableError('TRANSACTION_CLOSED', { table }, `${table} was written outside of its transaction`);
    }
    this.#open.participants.add(participant);
  }
}

function isPromise(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
