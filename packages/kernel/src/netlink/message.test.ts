import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attribute, decodeAttributes, decodeMessages, encodeMessage, nested, text, u32 } from './message.ts';

const request = (body: Uint8Array) => ({ type: 16, flags: 4, body, what: 'test' });

test('a header is length, type, flags with REQUEST, sequence', () => {
  const bytes = encodeMessage(request(Buffer.from([1, 2, 3])), 7);
  assert.equal(bytes.toString('hex'), '13000000' + '1000' + '0500' + '07000000' + '00000000' + '01020300');
});

test('messages of one datagram come back, whatever their lengths', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), bodies => {
      const datagram = Buffer.concat(bodies.map((body, index) => encodeMessage(request(body), index)));
      const found = [...decodeMessages(datagram)];
      assert.deepEqual(
        found.map(({ sequence, body }) => [sequence, [...body]]),
        bodies.map((body, index) => [index, [...body]]),
      );
    }),
  );
});

test('a datagram that is cut off anywhere gives whole messages only', () => {
  const datagram = Buffer.concat([1, 2].map(n => encodeMessage(request(Buffer.from([n, n, n, n])), n)));
  for (let length = 0; length <= datagram.length; length += 1)
    assert.equal([...decodeMessages(datagram.subarray(0, length))].length, Math.floor(length / 20));
});

test('attributes are padded to four bytes; nested ones are found without their flag', () => {
  const bytes = Buffer.concat([
    attribute(3, text('lo')),
    nested(18, attribute(1, text('veth')), attribute(4, u32(1500))),
  ]);
  const found = decodeAttributes(bytes, 0);
  assert.equal(found.get(3)?.toString('latin1'), 'lo\0');
  assert.equal(
    decodeAttributes(found.get(18) ?? Buffer.alloc(0), 0)
      .get(4)
      ?.readUInt32LE(0),
    1500,
  );
});

test('random bytes never make the decoders fail', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      const buffer = Buffer.from(bytes);
      for (const message of decodeMessages(buffer)) assert.ok(message.body.length <= buffer.length);
      for (const value of decodeAttributes(buffer, 0).values()) assert.ok(value.length <= buffer.length);
    }),
  );
});
