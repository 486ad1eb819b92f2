import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createDatabase } from './database.ts';
import type { ChangeCursor } from './types.ts';

interface Row {
  readonly key: string;
  readonly value: number;
}
const valuesOf = (row: Row) => [`half:${row.value % 2}`, ...(row.value > 5 ? ['big'] : [])];

type Step =
  | { readonly do: 'insert'; readonly key: string; readonly value: number }
  | { readonly do: 'delete'; readonly key: string };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('insert' as const),
    key: fc.constantFrom(...'abcdefgh'),
    value: fc.nat(9),
  }),
  fc.record({ do: fc.constant('delete' as const), key: fc.constantFrom(...'abcdefgh') }),
);
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('write' as const), steps: fc.array(step), abort: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('read' as const), cursor: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const), cursor: fc.nat(3) }) },
);

/** What a reader that follows a cursor believes the table holds. */
function follow(view: Map<string, number>, cursor: ChangeCursor<Row>): void {
  let last = 0;
  const keys = new Set<string>();
  for (const { key, row, deleted, revision } of cursor.next()) {
    assert.ok(revision > last, 'oldest first');
    assert.ok(!keys.has(key), 'one change a key');
    last = revision;
    keys.add(key);
    if (deleted) view.delete(key);
    else view.set(key, row.value);
  }
}

test('rows, indexes and cursors agree with a plain Map', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), actions => {
      const database = createDatabase();
      const table = database.table<Row, 'value'>({
        name: 't',
        key: row => row.key,
        indexes: { value: valuesOf },
      });
      const oracle = new Map<string, number>();
      const open = () => ({ cursor: table.changes(), view: new Map<string, number>() });
      const readers = [0, 1, 2, 3].map(open);
      for (const act of actions) {
        if (act.do === 'write') {
          const draft = new Map(oracle);
          try {
            database.write(txn => {
              for (const one of act.steps) {
                const before = one.do === 'insert' ? table.insert(txn, one) : table.delete(txn, one.key);
                assert.equal(before?.value, draft.get(one.key));
                if (one.do === 'insert') draft.set(one.key, one.value);
                else draft.delete(one.key);
              }
              if (act.abort) throw new Error('abort');
            });
            for (const key of oracle.keys()) if (!draft.has(key)) oracle.delete(key);
            for (const [key, value] of draft) oracle.set(key, value);
          } catch (error) {
            if (!act.abort) throw error;
          }
        } else if (act.do === 'reopen') {
          readers[act.cursor]?.cursor.close();
          readers[act.cursor] = open();
        } else {
          const reader = readers[act.cursor];
          assert.ok(reader);
          follow(reader.view, reader.cursor);
          assert.deepEqual(reader.view, oracle);
        }
        assert.equal(table.size, oracle.size);
        for (const wanted of ['half:0', 'half:1', 'big']) {
          const expected = [...oracle].filter(([key, value]) => valuesOf({ key, value }).includes(wanted));
          const got = table.by('value', wanted).map(row => row.key);
          assert.deepEqual(got.sort(), expected.map(([key]) => key).sort());
        }
      }
      for (const { cursor, view } of readers) {
        follow(view, cursor);
        assert.deepEqual(view, oracle);
      }
      assert.equal((table as unknown as { graveyardSize: number }).graveyardSize, 0);
    }),
  );
});
