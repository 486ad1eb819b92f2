import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDatabase } from '@ciliate/tables';
import { JoinedSinks } from './joined-sink.ts';
import type { KubeObject } from './kube-object.ts';
import { TableSink } from './table-sink.ts';

interface Row {
  readonly name: string;
  readonly value: number;
  readonly builtIn?: true;
}

const object = (name: string, value: unknown): KubeObject => ({ metadata: { name }, value });

function parse({ metadata, value }: KubeObject): Row | undefined {
  if (value === 'other') return undefined;
  if (typeof value !== 'number') throw new Error('value is not a number');
  return { name: metadata?.name ?? '', value };
}

function setup() {
  const db = createDatabase();
  const table = db.table<Row>({ name: 't', key: row => row.name });
  const skipped: unknown[] = [];
  const log = (_message: string, data: Readonly<Record<string, unknown>>) => void skipped.push(data.object);
  const values = () => Object.fromEntries(table.all().map(row => [row.name, row.value]));
  return { db, table, log, skipped, values };
}

function tableSink() {
  const world = setup();
  const sink = new TableSink<Row>({ name: 'source', parse, foreign: row => row.builtIn === true }, world);
  return { ...world, sink };
}

test('a list is taken when its last page has come, and only then', () => {
  const { sink, table, values } = tableSink();
  const pages = sink.pages();
  pages.add([object('a', 1)]);
  sink.pages().add([object('never ended', 1)]);
  assert.deepEqual([values(), table.initialized], [{}, false]);
  pages.add([object('b', 2)]);
  pages.end();
  assert.deepEqual([values(), table.initialized], [{ a: 1, b: 2 }, true]);
});

test('what a later list does not have is gone, but for what others have put there', () => {
  const { sink, db, table, values } = tableSink();
  db.write(txn => table.insert(txn, { name: 'built in', value: 0, builtIn: true }));
  sink.replace([object('a', 1), object('b', 2)]);
  sink.replace([object('b', 3)]);
  assert.deepEqual(values(), { b: 3, 'built in': 0 });
});

test('an object that is not valid keeps the row of its last valid version, in a list and in an event', () => {
  const { sink, values, skipped } = tableSink();
  sink.replace([object('a', 1), object('b', 2)]);
  sink.replace([object('a', 'bad'), object('new', 'bad')]);
  sink.apply(object('a', 'bad'));
  assert.deepEqual(values(), { a: 1 });
  assert.deepEqual(skipped, ['a', 'new', 'a']);
});

test('an object that becomes none of our business is gone', () => {
  const { sink, values } = tableSink();
  sink.replace([object('a', 1), object('b', 2)]);
  sink.apply(object('a', 'other'));
  sink.remove(object('b', 2));
  assert.deepEqual(values(), {});
});

test('rows that come out equal are not written', () => {
  const { sink, table } = tableSink();
  sink.replace([object('a', 1)]);
  const [row, revision] = [table.get('a'), table.revision];
  sink.replace([object('a', 1)]);
  sink.apply(object('a', 1));
  assert.equal(table.get('a'), row);
  assert.equal(table.revision, revision);
});

test('two resources make one row; the row goes with the last of them', () => {
  const { values, ...modules } = setup();
  const half = (name: string) => ({ name, parse: (one: KubeObject) => parse(one)?.value ?? 0 });
  const { first, second } = new JoinedSinks<number, number, Row>(
    {
      first: half('first'),
      second: half('second'),
      join: (a, b) => ({ name: 'n', value: (a ?? 0) * 10 + (b ?? 0) }),
    },
    modules,
  );
  first.replace([object('n', 1)]);
  assert.deepEqual([values(), modules.table.initialized], [{ n: 10 }, false]);
  second.replace([object('n', 2)]);
  assert.deepEqual([values(), modules.table.initialized], [{ n: 12 }, true]);
  second.apply(object('n', 'bad'));
  assert.deepEqual(values(), { n: 12 });
  first.replace([]);
  assert.deepEqual(values(), { n: 2 });
  second.remove(object('n', 2));
  assert.deepEqual(values(), {});
});
