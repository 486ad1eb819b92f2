import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Codec, decodeLbKey, encodeLbKey, mapSpecs } from './index.ts';

const address = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 96, 0, 10]);

test('ports are big-endian, other integers little-endian, padding is zero', () => {
  const bytes = encodeLbKey({ address, dport: 0x1f90, backendSlot: 0x0102, proto: 6, scope: 1 });
  assert.deepEqual([...bytes.subarray(16)], [0x1f, 0x90, 0x02, 0x01, 6, 1, 0, 0]);
  assert.deepEqual(bytes.subarray(0, 16), address);
});

test('what is too short is refused', () => {
  assert.throws(() => decodeLbKey(new Uint8Array(23)), /lb_key: 23 bytes, 24 needed/);
});

/** Bytes that a read and a write bring back: padding is lost the first time, then nothing. */
function settles<T>(codec: Codec<T>, bytes: Uint8Array): void {
  const once = new Uint8Array(codec.size).fill(0xee);
  codec.write(codec.read(bytes, 0), once, 0);
  const twice = new Uint8Array(codec.size + 2).fill(0xee);
  codec.write(codec.read(once, 0), twice, 1);
  assert.deepEqual(twice.subarray(1, -1), once, codec.name);
  assert.deepEqual([twice[0], twice[codec.size + 1]], [0xee, 0xee], `${codec.name} wrote outside of its range`);
  for (let at = 0; at < codec.size; at += 1)
    assert.ok(once[at] === bytes[at] || once[at] === 0, `${codec.name}: byte ${at} is neither kept nor padding`);
}

test('every key and value of every map keeps its fields and stays in its range', () => {
  const random = fc.uint8Array({ minLength: 64, maxLength: 64 });
  fc.assert(
    fc.property(random, bytes => {
      for (const { key, value } of Object.values(mapSpecs)) {
        settles<unknown>(key as Codec<unknown>, bytes);
        settles<unknown>(value as Codec<unknown>, bytes);
      }
    }),
  );
});
