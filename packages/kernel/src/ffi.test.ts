import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { bpf, c, errno } from './ffi.ts';

/** The thread's errno is EISDIR afterwards. */
const failElsewhere = (): void => void assert.throws(() => readFileSync('/'), { code: 'EISDIR' });

test('errno is that of our own call, whatever has failed in the thread since', () => {
  const result = bpf.get('/nonexistent/pin');
  failElsewhere();
  assert.ok(result < 0);
  assert.equal(errno(), -result);
  assert.equal(c.open('/nonexistent/file', 0), -1);
  failElsewhere();
  assert.equal(errno(), constants.errno.ENOENT);
});
