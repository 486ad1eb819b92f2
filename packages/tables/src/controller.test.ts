import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Controller } from './controller.ts';
import { createDatabase } from './database.ts';
import { derive } from './derive.ts';
import { FakeClock } from './fake-clock.ts';
import { pending } from './status.ts';
import type { Status } from './types.ts';

interface Word {
  readonly id: string;
  readonly text: string;
}
interface Length {
  readonly id: string;
  readonly length: number;
  readonly status: Status;
}

function setup() {
  const database = createDatabase();
  const words = database.table<Word>({ name: 'words', key: row => row.id });
  const lengths = database.table<Length>({ name: 'lengths', key: row => row.id });
  const clock = new FakeClock();
  const put = (id: string, text: string) => database.write(txn => words.insert(txn, { id, text }));
  return { database, words, lengths, clock, put };
}

test('changes that come together are one run, and a run gets only what changed', async () => {
  const { database, words, lengths, clock, put } = setup();
  const seen: string[][] = [];
  const controller = new Controller(
    {
      name: 'spy',
      inputs: { words, lengths },
      outputs: [],
      run: changes => void seen.push(changes.words.map(change => `${change.deleted ? '-' : '+'}${change.key}`)),
    },
    { database, clock },
  );
  put('a', 'x');
  controller.start();
  put('b', 'y');
  await clock.advance(0);
  put('a', 'z');
  database.write(txn => words.delete(txn, 'b'));
  await clock.advance(0);
  assert.deepEqual(seen, [
    ['+a', '+b'],
    ['+a', '-b'],
  ]);
  controller.stop();
  put('c', 'w');
  await clock.advance(10);
  assert.equal(seen.length, 2);
});

test('with patience changes that keep coming are one run, until patience ends', async () => {
  const { database, words, clock, put } = setup();
  let time = 0;
  const ticking = { now: () => time, after: (delay: number, run: () => void) => clock.after(delay, run) };
  const seen: number[] = [];
  const run = (changes: { readonly words: readonly unknown[] }) => void seen.push(changes.words.length);
  const options = { name: 'spy', inputs: { words }, outputs: [], patience: 20, run };
  new Controller(options, { database, clock: ticking }).start();
  await clock.advance(0);
  seen.length = 0;
  const comeInTurns = (left: number): void => {
    time += 1;
    put(`word ${left}`, 'x');
    if (left > 1) clock.after(0, () => comeInTurns(left - 1));
  };
  comeInTurns(10);
  await clock.advance(0);
  assert.deepEqual(seen, [10]);
  comeInTurns(25);
  await clock.advance(0);
  assert.deepEqual(seen, [10, 21, 4], 'after 20 ms it takes what is there');
  put('alone', 'y');
  await clock.advance(0);
  assert.deepEqual(seen.slice(3), [1], 'one that comes alone does not wait for time to pass');
});

test('a run that throws writes nothing, is tried again with the same changes, and says so in its health', async () => {
  const { database, words, lengths, clock, put } = setup();
  let broken = true;
  const controller = new Controller(
    {
      name: 'copy',
      inputs: { words },
      outputs: [lengths],
      run: (changes, txn) => {
        for (const { row } of changes.words) {
          lengths.insert(txn, { id: row.id, length: row.text.length, status: pending(0) });
        }
        if (broken) throw new Error('not today');
      },
    },
    { database, clock },
  );
  controller.start();
  put('a', 'four');
  await clock.advance(50);
  assert.equal(lengths.size, 0);
  assert.equal(lengths.initialized, false);
  assert.equal(controller.health().lastError, 'not today');
  assert.equal(controller.health().consecutiveFailures, 1);
  broken = false;
  await clock.advance(100);
  assert.equal(lengths.get('a')?.length, 4);
  assert.equal(lengths.initialized, true);
  assert.equal(controller.health().consecutiveFailures, 0);
});

test('outputs are initialized when all inputs are', async () => {
  const { database, words, lengths, clock } = setup();
  const report = words.registerInitializer('source');
  derive({ name: 'lengths', input: words, output: lengths, map: () => [] }, { database, clock }).start();
  await clock.advance(1000);
  assert.equal(lengths.initialized, false);
  database.write(report);
  await clock.advance(0);
  assert.equal(lengths.initialized, true);
});

test('derive writes what differs in more than status and removes what a row no longer gives', async () => {
  const { database, words, lengths, clock, put } = setup();
  const map = (row: Word) =>
    row.text === ''
      ? []
      : row.text.split(' ').map((w, i) => ({ id: `${row.id}${i}`, length: w.length, status: pending(clock.now()) }));
  derive({ name: 'lengths', input: words, output: lengths, map }, { database, clock }).start();
  put('a', 'one three');
  await clock.advance(10);
  const first = lengths.get('a0');
  put('a', 'two');
  await clock.advance(10);
  assert.equal(lengths.get('a0'), first);
  assert.equal(lengths.size, 1);
  database.write(txn => words.delete(txn, 'a'));
  await clock.advance(10);
  assert.equal(lengths.size, 0);
});
