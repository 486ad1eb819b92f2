import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atLeast, ratioOf, ratioText } from './ratio.ts';
import { growth, median, quantile } from './statistics.ts';

test('a ratio is that of each round, so that a slow round spoils nothing', () => {
  assert.deepEqual(ratioOf([90, 45, 99], [100, 50, 100]), { median: 0.9, low: 0.9, high: 0.99 });
  assert.equal(ratioText({ median: 0.9, low: 0.8, high: 1 }, 2), '0.90 (0.80–1.00)');
});

const verdicts = [
  { name: 'met, every round', ratios: [1, 1, 1.1], met: true, open: false },
  { name: 'met, one round below', ratios: [0.9, 1, 1.1], met: true, open: true },
  { name: 'missed, one round above', ratios: [0.9, 0.9, 1.1], met: false, open: true },
  { name: 'missed, every round', ratios: [0.9, 0.9, 0.8], met: false, open: false },
] as const;

for (const { name, ratios, met, open } of verdicts) {
  test(`a target is ${name}`, () => {
    const ones = ratios.map(() => 1);
    const target = atLeast('x', ratioOf(ratios, ones), 1);
    assert.deepEqual([target.met, target.open], [met, open]);
  });
}

test('medians of odd and even numbers, quantiles, nothing', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(quantile([1, 2, 3, 4, 5], 0.99), 5);
  assert.ok(Number.isNaN(median([])));
});

test('growth is the exponent: in proportion 1, squared 2, constant 0', () => {
  const xs = [10, 100, 1000];
  for (const exponent of [0, 1, 2]) {
    const slope = growth(xs.map(x => [x, 3 * x ** exponent] as const));
    assert.ok(Math.abs(slope - exponent) < 1e-9, `${slope}`);
  }
  assert.ok(Number.isNaN(growth([[1, 1]])));
});
