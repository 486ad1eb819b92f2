import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parsePrefix } from '@ciliate/model';
import { changesOf } from './local-node.ts';

const [first, second, sixth] = ['172.30.0.11', '172.30.0.99', 'fd00::11'].map(parseAddress) as [
  ReturnType<typeof parseAddress>,
  ReturnType<typeof parseAddress>,
  ReturnType<typeof parseAddress>,
];

test('nothing to tell: before the programs are loaded, the same addresses in another order, none known yet', () => {
  assert.deepEqual(changesOf({ loaded: undefined, now: [first], withdrawn: [] }), []);
  assert.deepEqual(changesOf({ loaded: [first, sixth], now: [sixth, first], withdrawn: [] }), []);
  assert.deepEqual(changesOf({ loaded: [first], now: [], withdrawn: [] }), []);
});

test('another node address: both are named, and what to do', () => {
  const [told] = changesOf({ loaded: [first], now: [second], withdrawn: [] });
  assert.match(told ?? '', /is 172\.30\.0\.99 now, .* with 172\.30\.0\.11: restart the agent/);
});

test('a pod CIDR that was taken away is named', () => {
  const [told] = changesOf({ loaded: [first], now: [first], withdrawn: [parsePrefix('10.244.1.0/24')] });
  assert.match(told ?? '', /pod CIDR 10\.244\.1\.0\/24 was taken/);
});
