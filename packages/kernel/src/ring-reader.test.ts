/** The reader against a ring buffer that behaves as the kernel's, in plain memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from './fake.ts';
import { type RingMemory, RingReader } from './ring-reader.ts';

const size = 4096;

/** bpf_ringbuf_reserve, submit and discard, on memory whose second half mirrors the first. */
class FakeRing {
  readonly memory: RingMemory = {
    consumer: new BigUint64Array(1),
    producer: new BigUint64Array(1),
    data: new Uint8Array(2 * size),
  };

  /** Undefined when there is no room. */
  reserve(length: number): { submit(bytes: Uint8Array): void; discard(): void } | undefined {
    const { consumer, producer, data } = this.memory;
    const at = producer[0] ?? 0n;
    const total = (length + 8 + 7) & ~7;
    if (at + BigInt(total) - (consumer[0] ?? 0n) > BigInt(size)) return undefined;
    const offset = Number(at % BigInt(size));
    const put = (from: number, byte: number): void => {
      data[from % size] = byte;
      data[(from % size) + size] = byte;
    };
    const head = (flags: number): void => {
      const value = (length | flags) >>> 0;
      for (let byte = 0; byte < 4; byte++) put(offset + byte, (value >>> (8 * byte)) & 0xff);
    };
    head(0x80000000);
    producer[0] = at + BigInt(total);
    return {
      submit: bytes => {
        for (const [index, byte] of bytes.entries()) put(offset + 8 + index, byte);
        head(0);
      },
      discard: () => head(0x40000000),
    };
  }
}

const collect = (reader: RingReader, limit?: number): string[] => {
  const found: string[] = [];
  reader.read(record => found.push(Buffer.from(record).toString('hex')), limit);
  return found;
};

test('a record that is being written holds up those behind it; a discarded one is passed over', () => {
  const ring = new FakeRing();
  const reader = new RingReader(ring.memory);
  const [first, second, third] = [ring.reserve(3), ring.reserve(5), ring.reserve(1)];
  second?.submit(Uint8Array.of(1, 2, 3, 4, 5));
  assert.deepEqual(collect(reader), []);
  first?.discard();
  assert.deepEqual(collect(reader), ['0102030405']);
  third?.submit(Uint8Array.of(9));
  assert.deepEqual(collect(reader), ['09']);
  assert.deepEqual(collect(reader), []);
  assert.equal(reader.overwritten, 0);
});

test('no more than the limit, the rest at the next time', () => {
  const ring = new FakeRing();
  const reader = new RingReader(ring.memory);
  for (let index = 0; index < 5; index++) ring.reserve(1)?.submit(Uint8Array.of(index));
  assert.deepEqual(collect(reader, 2), ['00', '01']);
  assert.deepEqual(collect(reader, 2), ['02', '03']);
  assert.deepEqual(collect(reader, 2), ['04']);
});

test('records are views of the ring, not copies', () => {
  const ring = new FakeRing();
  ring.reserve(4)?.submit(Uint8Array.of(1, 2, 3, 4));
  new RingReader(ring.memory).read(record => assert.equal(record.buffer, ring.memory.data.buffer));
});

test('a writer that has come round is noticed, counted, and reading goes on behind it', () => {
  const ring = new FakeRing();
  const reader = new RingReader(ring.memory);
  ring.memory.producer[0] = BigInt(3 * size);
  assert.deepEqual(collect(reader), []);
  assert.equal(reader.overwritten, 1);
  ring.reserve(1)?.submit(Uint8Array.of(7));
  assert.deepEqual(collect(reader), ['07']);
  assert.equal(reader.overwritten, 1);
});

test('a length that reaches behind what is written is no record', () => {
  const ring = new FakeRing();
  const reader = new RingReader(ring.memory);
  ring.reserve(4)?.submit(Uint8Array.of(1, 2, 3, 4));
  ring.memory.data[0] = 200;
  assert.deepEqual(collect(reader), []);
  assert.equal(reader.overwritten, 1);
  assert.equal(ring.memory.consumer[0], ring.memory.producer[0]);
});

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
test(`random writers, readers and a full ring against a queue (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const ring = new FakeRing();
  const reader = new RingReader(ring.memory);
  const expected: string[] = [];
  const open: { readonly finish: () => void; readonly text: string | undefined }[] = [];
  const got: string[] = [];
  for (let step = 0; step < 20_000; step++) {
    const length = Math.floor(random() * 300);
    const slot = random() < 0.6 ? ring.reserve(length) : undefined;
    if (slot !== undefined) {
      const bytes = Uint8Array.from({ length }, () => Math.floor(random() * 256));
      const keep = random() < 0.8;
      open.push({
        finish: () => (keep ? slot.submit(bytes) : slot.discard()),
        text: keep ? Buffer.from(bytes).toString('hex') : undefined,
      });
    }
    if (random() < 0.6) {
      const done = open.shift();
      done?.finish();
      if (done?.text !== undefined) expected.push(done.text);
    }
    if (random() < 0.1) got.push(...collect(reader, Math.ceil(random() * 20)));
  }
  for (const record of open) {
    record.finish();
    if (record.text !== undefined) expected.push(record.text);
  }
  got.push(...collect(reader));
  assert.ok(expected.length > 1000);
  assert.deepEqual(got, expected);
  assert.equal(reader.overwritten, 0);
});
