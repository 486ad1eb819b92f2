import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { IdCounts } from './id-counts.ts';

const id = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.constantFrom(4_294_967_295, 4_294_967_040));

test('counts are those of a map', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(id, fc.constantFrom(1, 1, -1))), steps => {
      const counts = new IdCounts();
      const plain = new Map<number, number>();
      for (const [one, by] of steps) {
        counts.add(one, by);
        const count = Math.max(0, (plain.get(one) ?? 0) + by);
        if (count > 0) plain.set(one, count);
        else plain.delete(one);
        assert.equal(counts.get(one), count);
      }
      assert.equal(counts.size, plain.size);
      for (const [one] of steps) assert.equal(counts.get(one), plain.get(one) ?? 0);
    }),
  );
});
