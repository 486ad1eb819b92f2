import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchWriter, readBatch } from './event-batch.ts';

const record = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('records come out as they went in, whatever their length, also after it grew', () => {
  const writer = new BatchWriter();
  const records = [0, 1, 3, 4, 5, 168, 30_000, 7].map((length, index) => record(length, index));
  for (const one of records) writer.add(one);
  assert.equal(writer.records, records.length);
  assert.deepEqual([...readBatch(writer.take())].map(text), records.map(text));
});

test('a batch that was taken is not touched by what comes next', () => {
  const writer = new BatchWriter();
  writer.add(record(8, 1));
  const batch = writer.take();
  assert.equal(writer.records, 0);
  writer.add(record(8, 2));
  assert.deepEqual([...readBatch(batch)].map(text), [text(record(8, 1))]);
  assert.deepEqual([...readBatch(writer.take())].map(text), [text(record(8, 2))]);
});

test('an empty batch has no records', () => {
  assert.deepEqual([...readBatch(new BatchWriter().take())], []);
});
