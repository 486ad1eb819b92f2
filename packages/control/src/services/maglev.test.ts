import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { maglevSizes, maglevTable } from './maglev.ts';

const backends = (n: number) =>
  Array.from({ length: n }, (_, i) => ({ key: `10.244.${i >> 8}.${i & 255}:80/TCP`, weight: 1 }));

function counts(table: Uint32Array, n: number): readonly number[] {
  const found = new Array<number>(n).fill(0);
  for (const index of table) found[index] = (found[index] ?? 0) + 1;
  return found;
}

describe('Maglev', () => {
  for (const size of maglevSizes.slice(0, 7)) {
    test(`${size}: entries are shared evenly`, () => {
      const found = counts(maglevTable(backends(7), size, 1), 7);
      assert.ok(Math.max(...found) - Math.min(...found) <= 1, found.join(' '));
    });
  }

  test('a weight of two has twice the entries', () => {
    const [a, b] = counts(
      maglevTable(
        [
          { key: 'a', weight: 1 },
          { key: 'b', weight: 2 },
        ],
        16_381,
        1,
      ),
      2,
    );
    assert.ok(Math.abs((b ?? 0) / (a ?? 1) - 2) < 0.01);
  });

  test('the order in which backends come does not matter', () => {
    const there = backends(20);
    const back = there.toReversed();
    const keys = (list: typeof there) => Array.from(maglevTable(list, 1021, 7), index => list[index]?.key);
    assert.deepEqual(keys(there), keys(back));
  });

  test('when one of 100 backends goes, at most 1 % of the entries of the others move', () => {
    const all = backends(100);
    const before = maglevTable(all, 16_381, 1);
    let worst = 0;
    for (let gone = 0; gone < 100; gone += 9) {
      const rest = all.filter((_, i) => i !== gone);
      const after = maglevTable(rest, 16_381, 1);
      let moved = 0;
      before.forEach((index, i) => {
        if (index !== gone && all[index] !== rest[after[i] ?? 0]) moved += 1;
      });
      worst = Math.max(worst, moved / before.length);
    }
    assert.ok(worst <= 0.01, `${(worst * 100).toFixed(2)} % moved`);
  });

  test('no backend: no table', () => {
    assert.equal(maglevTable([], 251, 0).length, 0);
  });
});
