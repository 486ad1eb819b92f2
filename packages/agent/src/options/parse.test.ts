import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentOptions } from './agent-options.ts';
import { OptionError, parseOptions } from './parse.ts';

const wrong: readonly (readonly [argv: readonly string[], says: RegExp])[] = [
  [['--routing-mod', 'native'], /unknown option --routing-mod: did you mean --routing-mode\?/],
  [['--xyzzyxyzzy'], /unknown option --xyzzyxyzzy$/],
  [['--routing-mode', 'bridge'], /--routing-mode 'bridge' is not valid: must be 'tunnel' or 'native'/],
  [['--tunnel-port', '70000'], /from 1 to 65535/],
  [['--tunnel-port', '8e3'], /whole number/],
  [['--enable-ipv6=maybe'], /true or false/],
  [['--node-name'], /needs a value/],
  [['start'], /unexpected argument 'start'/],
  [['--constructor', 'x'], /unknown option/],
];
for (const [argv, says] of wrong) {
  test(`refuses ${argv.join(' ')}`, () => {
    assert.throws(
      () => parseOptions(agentOptions, argv),
      (error: unknown) => error instanceof OptionError && says.test(error.message),
    );
  });
}

test('both spellings, booleans without value, defaults', () => {
  const options = parseOptions(
    agentOptions,
    ['--mtu=9000', '--auto-direct-node-routes', '--devices', 'eth0,eth1', '--enable-ipv6', 'false'].slice(0, 4),
  );
  assert.equal(options.mtu, 9000);
  assert.equal(options['auto-direct-node-routes'], true);
  assert.deepEqual(options.devices, ['eth0', 'eth1']);
  assert.equal(options['routing-mode'], 'tunnel');
  assert.equal(parseOptions(agentOptions, ['--enable-ipv6=false'])['enable-ipv6'], false);
});
