import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogClock, Stamper } from './log-clock.ts';

test('each line gets the time at which it was seen, however the bytes are cut', () => {
  const text = Buffer.from('one\ntwo\nthree\n');
  for (let cut = 0; cut <= text.length; cut += 1) {
    const clock = new LogClock('T0');
    clock.saw(4, 'T1');
    clock.saw(4, 'T2');
    clock.saw(8, 'T3');
    const stamper = new Stamper(clock, 0);
    const parts = [stamper.stamp(text.subarray(0, cut), 'NOW'), stamper.stamp(text.subarray(cut), 'NOW')];
    assert.equal(Buffer.concat(parts).toString(), 'T0 one\nT3 two\nNOW three\n');
  }
});

test('a log read from its middle is stamped by its offset', () => {
  const clock = new LogClock('');
  clock.saw(4, 'T1');
  clock.saw(8, 'T2');
  assert.equal(new Stamper(clock, 4).stamp(Buffer.from('two\n'), 'NOW').toString(), 'T2 two\n');
  assert.equal(new Stamper(clock, 0).stamp(Buffer.from('one\n'), 'NOW').toString(), 'T1 one\n');
});
