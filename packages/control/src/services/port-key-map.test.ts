import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PortKeyMap } from './port-key-map.ts';

const key = fc
  .tuple(
    fc.constantFrom('10.0.0.1', '10.0.0.2', '[fd00::1]', '[fd00::2]'),
    fc.constantFrom('80/TCP', '80/UDP', '81/TCP'),
  )
  .map(([address, port]) => `${address}:${port}`);
const step = fc.record({ key, value: fc.option(fc.nat(), { nil: undefined }) });

test('it does what a map does', () => {
  fc.assert(
    fc.property(fc.array(step), steps => {
      const map = new PortKeyMap<number>();
      const plain = new Map<string, number>();
      for (const { key: one, value } of steps) {
        if (value === undefined) assert.equal(map.delete(one), plain.delete(one));
        else {
          map.set(one, value);
          plain.set(one, value);
        }
        assert.equal(map.size, plain.size);
        assert.equal(map.has(one), plain.has(one));
      }
      for (const { key: one } of steps) assert.equal(map.get(one), plain.get(one));
      assert.deepEqual([...map.values()].sort(), [...plain.values()].sort());
    }),
  );
});
