import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ago, duration, latency } from './time.ts';

const cases: readonly (readonly [number, string])[] = [
  [0, '0s'],
  [999, '0s'],
  [61_000, '1m1s'],
  [60_000, '1m'],
  [3_600_000, '1h'],
  [90_061_000, '1d1h'],
];
for (const [input, expected] of cases) {
  test(`duration(${input}) is ${expected}`, () => assert.equal(duration(input), expected));
}

test('a time that never was is "never"', () => assert.equal(ago(undefined, 0), 'never'));
test('ago counts from now', () => assert.equal(ago('1970-01-01T00:00:01Z', 4000), '3s ago'));
test('latencies choose their unit', () => {
  assert.equal(latency(251_146), '251.1µs');
  assert.equal(latency(1_200_000), '1.20ms');
});
