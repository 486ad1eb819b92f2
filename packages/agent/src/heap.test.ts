import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeapKeeper, runningGrowth } from './heap.ts';

const tick = () => new Promise(resolve => setTimeout(resolve, 20));

test('it waits for the work that is there, once as long as memory stays', async () => {
  let asked = 0;
  let done = (): void => undefined;
  const settled = () => {
    asked += 1;
    return new Promise<void>(resolve => {
      done = resolve;
    });
  };
  const errors: unknown[] = [];
  const keeper = new HeapKeeper({ settled, onError: error => errors.push(error) });
  await tick();
  assert.equal(asked, 0, 'nothing happens before start');
  keeper.start();
  await tick();
  assert.equal(asked, 1);
  done();
  await tick();
  keeper.stop();
  assert.deepEqual([asked, errors], [1, []]);
});

test('a failure is told, and is no reason to end', async () => {
  const errors: unknown[] = [];
  const keeper = new HeapKeeper({
    settled: () => Promise.reject(new Error('no')),
    onError: error => errors.push(error),
  });
  keeper.start();
  await tick();
  keeper.stop();
  assert.match(String(errors[0]), /no/);
});

test('a small heap may double, a large one grows by less than a third', () => {
  const growths = [5, 24, 48, 200].map(megabytes => runningGrowth(megabytes * 1024 * 1024));
  assert.deepEqual(growths, [100, 100, 50, 30]);
});
