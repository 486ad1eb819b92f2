/** Rows inserted one transaction each and brought to a target by a reconciler. */
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../../packages/agent/src/clock.ts';
import { createDatabase, pending, Reconciler, type Status } from '../../packages/tables/src/index.ts';

interface Row {
  readonly key: string;
  readonly status: Status;
}

export interface TablesTimes {
  readonly rows: number;
  readonly insertMs: number;
  readonly reconciledMs: number;
}

export async function measureTables(rows: number): Promise<TablesTimes> {
  const database = createDatabase();
  const table = database.table<Row>({ name: 'bench', key: row => row.key });
  const held = new Set<string>();
  const operations = {
    update: (row: Row) => void held.add(row.key),
    delete: (row: Row) => void held.delete(row.key),
    prune: () => undefined,
  };
  const reconciler = new Reconciler({ name: 'bench' }, { table, database, operations, clock: systemClock });
  reconciler.start();
  const began = performance.now();
  for (let i = 0; i < rows; i += 1) {
    database.write(txn => table.insert(txn, { key: `row-${i}`, status: pending(systemClock.now()) }));
  }
  const insertMs = performance.now() - began;
  await setImmediate();
  await reconciler.settled();
  const reconciledMs = performance.now() - began;
  await reconciler.stop();
  if (held.size !== rows) throw new Error(`${held.size} of ${rows} rows reached the target`);
  return { rows, insertMs, reconciledMs };
}
