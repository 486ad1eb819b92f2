import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createDatabase } from './database.ts';
import { FakeClock } from './fake-clock.ts';
import { Reconciler } from './reconciler.ts';
import { pending } from './status.ts';
import type { Operations, ReconcilerOptions, Status } from './types.ts';

interface Row {
  readonly key: string;
  readonly value: number;
  readonly status: Status;
}

function setup(operations: Operations<Row>, options: Partial<ReconcilerOptions> = {}) {
  const database = createDatabase();
  const table = database.table<Row>({ name: 't', key: row => row.key });
  const clock = new FakeClock();
  const reconciler = new Reconciler({ name: 'test', ...options }, { table, database, operations, clock });
  const put = (key: string, value: number) =>
    database.write(txn => table.insert(txn, { key, value, status: pending(clock.now()) }));
  const remove = (key: string) => database.write(txn => table.delete(txn, key));
  return { database, table, clock, reconciler, put, remove };
}

/** A target that can be told to fail. */
function target() {
  const held = new Map<string, number>();
  const log: string[] = [];
  const state = { failing: false };
  const act = (entry: string) => {
    log.push(entry);
    if (state.failing) throw new Error(`no ${entry}`);
  };
  const operations: Operations<Row> = {
    update: row => {
      act(`put ${row.key}=${row.value}`);
      held.set(row.key, row.value);
    },
    delete: row => {
      act(`del ${row.key}`);
      held.delete(row.key);
    },
    prune: rows => {
      act('prune');
      const wanted = new Set(rows.map(row => row.key));
      for (const key of held.keys()) if (!wanted.has(key)) held.delete(key);
    },
  };
  return { held, log, state, operations };
}

test('rows reach the target in order, with status done, and status writes are no work', async () => {
  const { log, operations } = target();
  const { clock, reconciler, table, put, remove } = setup(operations);
  reconciler.start();
  put('a', 1);
  put('b', 2);
  await clock.until(reconciler.settled());
  assert.deepEqual(log, ['put a=1', 'put b=2', 'prune']);
  assert.equal(table.get('a')?.status.kind, 'done');
  remove('a');
  put('a', 3);
  remove('b');
  put('c', 4);
  await clock.until(reconciler.settled());
  assert.deepEqual(log.slice(3), ['put a=3', 'del b', 'put c=4']);
  assert.equal(reconciler.health().pending, 0);
  await reconciler.stop();
  put('d', 5);
  await clock.advance(1000);
  assert.equal(log.length, 6);
});

test('a failure is retried after 100 ms, then twice as long each time up to the maximum', async () => {
  const { log, state, operations } = target();
  const { clock, reconciler, table, put } = setup(operations, { retryMax: 400 });
  reconciler.start();
  await clock.until(reconciler.settled());
  state.failing = true;
  put('a', 1);
  const times: number[] = [];
  const began = clock.now();
  for (let tick = 0; tick < 1600; tick += 1) {
    const before = log.length;
    await clock.advance(1);
    if (log.length > before) times.push(clock.now() - began);
  }
  assert.deepEqual(
    times.map((time, i) => time - (times[i - 1] ?? 0)),
    [1, 99, 200, 400, 400, 400],
  );
  const status = table.get('a')?.status;
  assert.ok(status?.kind === 'error');
  assert.deepEqual([status.error, status.attempts], ['no put a=1', 6]);
  assert.deepEqual([reconciler.health().failing, reconciler.health().consecutiveFailures], [1, 6]);
  state.failing = false;
  await clock.until(reconciler.settled());
  assert.equal(table.get('a')?.status.kind, 'done');
});

test('a row that changes while it is retried is tried at once, and only its newest value', async () => {
  const { held, log, state, operations } = target();
  const { clock, reconciler, put } = setup(operations);
  reconciler.start();
  state.failing = true;
  put('a', 1);
  await clock.advance(3000);
  state.failing = false;
  log.length = 0;
  put('a', 2);
  await clock.advance(0);
  assert.deepEqual(held.get('a'), 2);
  await clock.until(reconciler.settled());
  assert.deepEqual(
    log.filter(entry => entry.startsWith('put')),
    ['put a=2'],
  );
});

test('a deletion that failed is retried too', async () => {
  const { held, state, operations } = target();
  const { clock, reconciler, put, remove } = setup(operations);
  reconciler.start();
  put('a', 1);
  await clock.until(reconciler.settled());
  state.failing = true;
  remove('a');
  await clock.advance(50);
  assert.equal(reconciler.health().failing, 1);
  state.failing = false;
  await clock.until(reconciler.settled());
  assert.equal(held.size, 0);
});

test('prune waits until every source has delivered; rows are written before that', async () => {
  const { held, log, operations } = target();
  const { clock, reconciler, table, put, database } = setup(operations);
  held.set('stale', 0);
  const report = table.registerInitializer('source');
  reconciler.start();
  put('a', 1);
  await clock.until(reconciler.settled());
  assert.deepEqual(log, ['put a=1']);
  assert.equal(reconciler.health().pruned, false);
  database.write(report);
  await clock.until(reconciler.settled());
  assert.deepEqual([...held], [['a', 1]]);
  assert.equal(reconciler.health().pruned, true);
});

test('a prune that fails is retried, one that is repeated is repeated', async () => {
  const { log, state, operations } = target();
  const { clock, reconciler } = setup(operations, { pruneInterval: 1000 });
  state.failing = true;
  reconciler.start();
  await clock.advance(250);
  assert.deepEqual(log, ['prune', 'prune']);
  state.failing = false;
  await clock.until(reconciler.settled());
  await clock.advance(3100);
  assert.equal(log.length, 6);
});

test('an update that arrives during an operation of its key waits for its end', async () => {
  let running = 0;
  const log: number[] = [];
  const { clock, reconciler, put } = setup({
    update: async row => {
      running += 1;
      assert.equal(running, 1);
      await new Promise<void>(resolve => clock.after(10, resolve));
      log.push(row.value);
      running -= 1;
    },
    delete: () => undefined,
  });
  reconciler.start();
  put('a', 1);
  await clock.advance(5);
  put('a', 2);
  await clock.until(reconciler.settled());
  assert.deepEqual(log, [1, 2]);
});

test('the bulk path: each row has its own outcome, and other work gets a turn between batches', async () => {
  const sizes: number[] = [];
  let turns = 0;
  const { clock, reconciler, table, database } = setup(
    {
      update: () => assert.fail('bulk is there'),
      delete: () => assert.fail('bulk is there'),
      updateBatch: rows => {
        sizes.push(rows.length);
        return rows.map(row => (row.value === 7 && sizes.length < 4 ? new Error('seven') : undefined));
      },
    },
    { batchSize: 4 },
  );
  database.write(txn => {
    for (let i = 0; i < 10; i += 1) table.insert(txn, { key: `${i}`, value: i, status: pending(0) });
  });
  reconciler.start();
  clock.after(0, () => {
    turns = sizes.length;
  });
  await clock.until(reconciler.settled());
  assert.deepEqual(sizes, [4, 4, 2, 1]);
  assert.equal(turns, 1);
  assert.ok(table.all().every(row => row.status.kind === 'done'));
});

test('with one operation in ten failing the target still becomes the table', async () => {
  const step = fc.record({ key: fc.constantFrom(...'abcdefghij'), value: fc.option(fc.nat(9)), wait: fc.nat(300) });
  await fc.assert(
    fc.asyncProperty(fc.array(step), fc.infiniteStream(fc.nat(9)), async (steps, dice) => {
      const { held, state, operations } = target();
      const flaky = <Args extends unknown[]>(run: (...args: Args) => void) => {
        return (...args: Args) => {
          state.failing = dice.next().value === 0;
          run(...args);
        };
      };
      const { clock, reconciler, table, put, remove } = setup({
        update: flaky(row => operations.update(row)),
        delete: flaky(row => operations.delete(row)),
        prune: flaky(rows => operations.prune?.(rows)),
      });
      held.set('stale', 1);
      reconciler.start();
      for (const { key, value, wait } of steps) {
        if (value === null) remove(key);
        else put(key, value);
        await clock.advance(wait);
      }
      await clock.until(reconciler.settled());
      assert.deepEqual(held, new Map(table.all().map(row => [row.key, row.value])));
      assert.ok(table.all().every(row => row.status.kind === 'done'));
    }),
    { numRuns: 50 },
  );
});

test('50,000 rows are inserted and reconciled, whole, in batches', async () => {
  const { held, operations } = target();
  const { clock, reconciler, table, database } = setup({
    ...operations,
    update: row => void held.set(row.key, row.value),
  });
  reconciler.start();
  database.write(txn => {
    for (let i = 0; i < 50_000; i += 1) table.insert(txn, { key: `${i}`, value: i, status: pending(0) });
  });
  await clock.until(reconciler.settled());
  assert.equal(held.size, 50_000);
  assert.ok(table.all().every(row => row.status.kind === 'done'));
});
