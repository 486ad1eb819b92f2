import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, portKey } from '@ciliate/model';
import * as fc from 'fast-check';
import { type PortAt, PortMap } from './port-map.ts';

const at: fc.Arbitrary<PortAt> = fc.record({
  address: fc.constantFrom(...['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2'].map(parseAddress)),
  port: fc.constantFrom(0, 80, 65_535),
  protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
});
const step = fc.record({ at, value: fc.option(fc.nat(), { nil: undefined }) });

test('it does what a map by portKey does', () => {
  fc.assert(
    fc.property(fc.array(step), steps => {
      const map = new PortMap<number>();
      const plain = new Map<string, number>();
      for (const { at: one, value } of steps) {
        if (value === undefined) assert.equal(map.delete(one), plain.delete(portKey(one)));
        else {
          map.set(one, value);
          plain.set(portKey(one), value);
        }
        assert.equal(map.size, plain.size);
        assert.equal(map.has(one), plain.has(portKey(one)));
      }
      for (const { at: one } of steps) assert.equal(map.get(one), plain.get(portKey(one)));
      assert.deepEqual([...map.values()].sort(), [...plain.values()].sort());
    }),
  );
});
