import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Channel, encodeFrame, FrameReader } from './stream-protocol.ts';

test('frames come whole however the bytes are cut', () => {
  const bytes = Buffer.concat([
    encodeFrame(Channel.stdin, 'hello'),
    encodeFrame(Channel.stdin, ''),
    encodeFrame(3, '{}'),
  ]);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    const reader = new FrameReader();
    const frames = [...reader.push(bytes.subarray(0, cut)), ...reader.push(bytes.subarray(cut))];
    assert.deepEqual(
      frames.map(frame => [frame.channel, frame.payload.toString()]),
      [
        [0, 'hello'],
        [0, ''],
        [3, '{}'],
      ],
    );
  }
});
