import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseChain, parseError, parseResult } from './cni-result.ts';

describe('CNI output', () => {
  test('addresses come without prefix length, in order', () => {
    const text = '{"cniVersion":"1.1.0","ips":[{"address":"10.244.1.5/32"},{"address":"fd00::5/128","interface":0}]}';
    assert.deepEqual(parseResult(text).addresses, ['10.244.1.5', 'fd00::5']);
  });

  for (const text of ['', '[]', 'null', 'panic: x', '{"ips":']) {
    test(`'${text}' is no result`, () => {
      assert.throws(() => parseResult(text), { code: 999 });
    });
  }

  test('an error object gives its code, message and details', () => {
    const error = parseError('{"code":11,"msg":"agent is away","details":"is it running?"}', '', 1);
    assert.equal(error.code, 11);
    assert.equal(error.message, 'agent is away: is it running?');
  });

  test('a plugin that only writes to standard error is quoted', () => {
    assert.equal(parseError('', 'no such file\n', 127).message, 'no such file');
    assert.equal(parseError('', '', 127).message, 'exit code 127');
  });

  test('a conflist and a single conf are chains; anything else is not', () => {
    assert.equal(
      parseChain('{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"a"},{"type":"b"}]}')?.plugins.length,
      2,
    );
    assert.equal(parseChain('{"name":"n","type":"a"}')?.cniVersion, '0.3.1');
    assert.equal(parseChain('{"name":"n","plugins":[{"type":"a"},{}]}'), undefined);
    assert.equal(parseChain('{"name":"n","plugins":[]}'), undefined);
    assert.equal(parseChain('{"name":"n","plug'), undefined);
  });
});
