import { Controller, type ControllerModules, type ControllerOptions } from './controller.ts';
import { sameRow } from './equal.ts';
import type { RWTable, Table, WriteTxn } from './types.ts';

/** Writes a row only when it differs from the one there in more than status. True when it was written. */
export function upsert<Row extends object>(table: RWTable<Row, never>, txn: WriteTxn, row: Row): boolean {
  const before = table.peek(txn, table.spec.key(row));
  if (before !== undefined && sameRow(before, row)) return false;
  table.insert(txn, row);
  return true;
}

/** Makes the table hold exactly `rows`; those that are equal but for status stay untouched. */
export function replaceAll<Row extends object>(table: RWTable<Row, never>, txn: WriteTxn, rows: Iterable<Row>): void {
  const keep = new Set<string>();
  for (const row of rows) {
    keep.add(table.spec.key(row));
    upsert(table, txn, row);
  }
  for (const row of table.all()) {
    const key = table.spec.key(row);
    if (!keep.has(key)) table.delete(txn, key);
  }
}

export interface DeriveOptions<In, Out> {
  readonly name: string;
  readonly input: Pick<Table<In>, 'changes' | 'subscribe' | 'initialized'>;
  readonly output: RWTable<Out, never>;
  /** The output rows of one input row. No two input rows may give the same output key. */
  readonly map: (row: In) => readonly Out[];
}

/** A controller that maps each row of a table by itself; rows that come out equal are not written. */
export function derive<In, Out extends object>(
  { name, input, output, map }: DeriveOptions<In, Out>,
  modules: ControllerModules,
): Controller<{ rows: In }> {
  const keysOf = new Map<string, readonly string[]>();
  const run: ControllerOptions<{ rows: In }>['run'] = ({ rows }, txn) => {
    const made = new Map<string, readonly string[]>();
    for (const { key, row, deleted } of rows) {
      const outputs = deleted ? [] : map(row);
      const outputKeys = outputs.map(output.spec.key);
      made.set(key, outputKeys);
      for (const before of keysOf.get(key) ?? []) if (!outputKeys.includes(before)) output.delete(txn, before);
      for (const outputRow of outputs) upsert(output, txn, outputRow);
    }
    for (const [key, keys] of made) keysOf.set(key, keys);
  };
  return new Controller({ name, inputs: { rows: input }, outputs: [output], run }, modules);
}
