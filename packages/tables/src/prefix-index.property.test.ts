import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createDatabase } from './database.ts';
import { type BitPrefix, PrefixIndex, TablePrefixIndex } from './prefix-index.ts';

const bitsOf = (bytes: Uint8Array) => [...bytes].map(byte => byte.toString(2).padStart(8, '0')).join('');
const text = ({ bytes, bits }: BitPrefix) => bitsOf(bytes).slice(0, bits);

/** Addresses that differ in few places, so that prefixes nest and meet. */
const bytes = fc
  .array(fc.constantFrom(0, 1, 128, 255), { minLength: 3, maxLength: 3 })
  .map(([a = 0, b = 0, c = 0]) => Uint8Array.from([a, 0, 0, 0, 0, 0, 0, b, 0, 0, 0, 0, 0, 0, 0, c]));
const prefix = fc.record({ bytes, bits: fc.oneof(fc.constantFrom(0, 1, 8, 63, 64, 65, 120, 127, 128), fc.nat(128)) });

test('longest, exact and covering agree with a search over all prefixes', () => {
  const steps = fc.array(fc.record({ prefix, value: fc.nat(), remove: fc.boolean() }));
  fc.assert(
    fc.property(steps, prefix, (writes, asked) => {
      const index = new PrefixIndex<number>();
      const oracle = new Map<string, number>();
      for (const write of writes) {
        if (write.remove) assert.equal(index.delete(write.prefix), oracle.delete(text(write.prefix)));
        else {
          assert.equal(index.set(write.prefix, write.value), oracle.get(text(write.prefix)));
          oracle.set(text(write.prefix), write.value);
        }
      }
      const covering = [...oracle]
        .filter(([bits]) => text(asked).startsWith(bits))
        .sort(([a], [b]) => b.length - a.length)
        .map(([bits, value]) => ({ bits: bits.length, value }));
      assert.deepEqual(index.covering(asked), covering);
      assert.equal(index.exact(asked), oracle.get(text(asked)));
      const all = [...oracle].filter(([bits]) => bitsOf(asked.bytes).startsWith(bits)).map(([bits]) => bits.length);
      assert.equal(index.longest(asked.bytes)?.bits, all.length === 0 ? undefined : Math.max(...all));
      assert.equal(index.size, oracle.size);
    }),
  );
});

test('an index over a table follows it, rows that share a prefix included', () => {
  const database = createDatabase();
  const table = database.table<{ readonly id: string; readonly prefix: BitPrefix }>({ name: 't', key: row => row.id });
  const index = new TablePrefixIndex(table, row => [row.prefix]);
  const address = new Uint8Array(16).fill(1);
  const row = (id: string, bits: number) => ({ id, prefix: { bytes: address, bits } });
  database.write(txn => {
    table.insert(txn, row('a', 64));
    table.insert(txn, row('b', 64));
    table.insert(txn, row('c', 8));
  });
  const ids = () => index.longest(address).map(found => found.id);
  assert.deepEqual(ids(), ['a', 'b']);
  database.write(txn => table.insert(txn, row('a', 4)));
  assert.deepEqual(ids(), ['b']);
  database.write(txn => table.delete(txn, 'b'));
  assert.deepEqual(ids(), ['c']);
  assert.deepEqual(
    index.covering({ bytes: address, bits: 128 }).map(found => found.id),
    ['c', 'a'],
  );
});

test('a prefix of wrong size is refused', () => {
  assert.throws(() => new PrefixIndex().exact({ bytes: new Uint8Array(4), bits: 8 }), { code: 'BAD_PREFIX' });
  assert.throws(() => new PrefixIndex().exact({ bytes: new Uint8Array(16), bits: 129 }), { code: 'BAD_PREFIX' });
});
