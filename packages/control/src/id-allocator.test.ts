import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdAllocator } from './id-allocator.ts';

test('ids are stable while held, unique, and reused as late as possible', () => {
  const ids = new IdAllocator({ min: 1, max: 3 });
  assert.deepEqual([ids.acquire('a'), ids.acquire('b'), ids.acquire('a')], [1, 2, 1]);
  ids.release('a');
  assert.equal(ids.acquire('c'), 3);
  assert.equal(ids.acquire('d'), 1);
  assert.equal(ids.acquire('e'), undefined);
  ids.release('c');
  ids.release('b');
  assert.deepEqual([ids.acquire('e'), ids.acquire('f')], [3, 2]);
});

test('restored ids come back to their keys; those that nobody asks for are freed when told', () => {
  const ids = new IdAllocator({ min: 1, max: 9 });
  ids.restore([
    ['a', 5],
    ['b', 1],
    ['thief', 5],
  ]);
  assert.deepEqual([ids.acquire('a'), ids.acquire('new')], [5, 6]);
  ids.releaseUnclaimed();
  assert.equal(ids.get('b'), undefined);
  assert.equal(ids.get('a'), 5);
  const rest = ['c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].map(key => ids.acquire(key));
  assert.deepEqual(rest, [7, 8, 9, 1, 2, 3, 4, undefined]);
});
