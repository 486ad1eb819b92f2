import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDatabase } from './database.ts';
import { TableError, type TableErrorCode } from './errors.ts';

interface Pet {
  readonly name: string;
  readonly kind: string;
  readonly tags: readonly string[];
}

const pet = (name: string, kind = 'cat', ...tags: string[]): Pet => ({ name, kind, tags });

function pets() {
  const database = createDatabase();
  const table = database.table<Pet, 'kind' | 'tag'>({
    name: 'pets',
    key: row => row.name,
    indexes: { kind: row => [row.kind], tag: row => row.tags },
  });
  return { database, table };
}

const code = (expected: TableErrorCode) => (error: unknown) => error instanceof TableError && error.code === expected;

test('a transaction that throws changes nothing, not even revisions and initializers', () => {
  const { database, table } = pets();
  const report = table.registerInitializer('source');
  database.write(txn => table.insert(txn, pet('tom')));
  const cursor = table.changes();
  cursor.next();
  assert.throws(
    () =>
      database.write(txn => {
        table.insert(txn, pet('rex', 'dog'));
        table.delete(txn, 'tom');
        report(txn);
        throw new Error('no');
      }),
    /^Error: no$/,
  );
  assert.deepEqual(table.all(), [pet('tom')]);
  assert.equal(table.revision, 1);
  assert.equal(table.initialized, false);
  assert.deepEqual(table.by('kind', 'dog'), []);
  assert.deepEqual(cursor.next(), []);
  database.write(report);
  assert.equal(table.initialized, true);
});

test('readers see writes when the transaction has ended, the writer sees its own', () => {
  const { database, table } = pets();
  database.write(txn => {
    table.insert(txn, pet('tom'));
    assert.equal(table.get('tom'), undefined);
    assert.deepEqual(table.by('kind', 'cat'), []);
    assert.deepEqual(table.peek(txn, 'tom'), pet('tom'));
    assert.deepEqual(table.insert(txn, pet('tom', 'dog')), pet('tom'));
    assert.deepEqual(table.delete(txn, 'tom'), pet('tom', 'dog'));
    assert.equal(table.peek(txn, 'tom'), undefined);
    assert.equal(table.delete(txn, 'tom'), undefined);
  });
  assert.equal(table.size, 0);
});

test('compareAndSwap writes only over the very row it expects', () => {
  const { database, table } = pets();
  const tom = pet('tom');
  database.write(txn => table.insert(txn, tom));
  assert.equal(
    database.write(txn => table.compareAndSwap(txn, pet('tom'), pet('tom', 'dog'))),
    false,
  );
  assert.equal(
    database.write(txn => table.compareAndSwap(txn, tom, pet('tom', 'dog'))),
    true,
  );
  assert.deepEqual(table.by('kind', 'dog'), [pet('tom', 'dog')]);
  assert.deepEqual(table.by('kind', 'cat'), []);
});

test('misuse has a code', () => {
  const { database, table } = pets();
  assert.throws(() => database.table({ name: 'pets', key: String }), code('DUPLICATE_TABLE'));
  assert.throws(() => database.write(() => database.write(() => 1)), code('NESTED_WRITE'));
  const closed = database.write(txn => txn);
  assert.throws(() => table.insert(closed, pet('tom')), code('TRANSACTION_CLOSED'));
  const hidden: () => unknown = async () => 1;
  assert.throws(() => database.write<unknown>(hidden as () => never), code('ASYNC_WRITE'));
  const report = table.registerInitializer('source');
  database.write(report);
  assert.throws(() => database.write(report), code('INITIALIZER_REPORTED'));
  const cursor = table.changes();
  cursor.close();
  assert.throws(() => cursor.next(), code('CURSOR_CLOSED'));
});

test('subscribers are woken once a transaction, after it; their own writes wake after them', () => {
  const { database, table } = pets();
  const log: string[] = [];
  const unsubscribe = table.subscribe(() => {
    log.push(`wake ${table.size}`);
    if (table.size === 2) {
      database.write(txn => table.insert(txn, pet('rex')));
      log.push('wrote');
    }
  });
  database.write(txn => {
    table.insert(txn, pet('tom'));
    table.insert(txn, pet('ada'));
    log.push('body');
  });
  assert.deepEqual(log, ['body', 'wake 2', 'wrote', 'wake 3']);
  database.write(() => undefined);
  unsubscribe();
  database.write(txn => table.delete(txn, 'tom'));
  assert.equal(log.length, 4);
});

test('what a wake throws reaches onWakeError, not the writer, and not the other wakes', () => {
  const errors: unknown[] = [];
  const database = createDatabase({ onWakeError: error => errors.push(error) });
  const table = database.table<Pet>({ name: 'pets', key: row => row.name });
  let woken = 0;
  table.subscribe(() => {
    throw new Error('mine');
  });
  table.subscribe(() => {
    woken += 1;
  });
  database.write(txn => table.insert(txn, pet('tom')));
  assert.equal(woken, 1);
  assert.match(String(errors[0]), /mine/);
});

test('a deleted row stays for the cursors that have not seen it, and no longer', () => {
  const { database, table } = pets();
  database.write(txn => table.insert(txn, pet('tom')));
  const early = table.changes();
  const late = table.changes();
  assert.equal(early.next().length, 1);
  database.write(txn => table.delete(txn, 'tom'));
  const after = table.changes();
  assert.deepEqual(after.next(), []);
  assert.deepEqual(
    early.next().map(change => [change.key, change.deleted]),
    [['tom', true]],
  );
  assert.deepEqual(
    late.next().map(change => [change.key, change.deleted]),
    [['tom', true]],
  );
  assert.equal((table as unknown as { graveyardSize: number }).graveyardSize, 0);
});
