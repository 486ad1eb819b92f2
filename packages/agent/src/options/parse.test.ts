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
  [['--node-port-range', '32767-30000'], /--node-port-range '32767-30000' is not valid: .*the lower one first/],
  [['--node-port-range', '1000-2000'], /two ports from 4096/],
  [['--node-port-range', '30000'], /two ports/],
  [['--nodeport-addresses', '172.30.0.0/24,eth0'], /CIDRs, comma separated.*'eth0' is none/],
  [['--labels', 'k8s:app !team['], /'!team\[' is no regular expression/],
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

test('node port range in both notations, addresses as prefixes', () => {
  const options = parseOptions(agentOptions, [
    '--node-port-range',
    '20000,21000',
    '--nodeport-addresses=172.30.0.0/24,fd00::/64',
  ]);
  assert.deepEqual(options['node-port-range'], { min: 20_000, max: 21_000 });
  assert.deepEqual(options['nodeport-addresses'], ['172.30.0.0/24', 'fd00::/64']);
  assert.deepEqual(parseOptions(agentOptions, ['--node-port-range=30000-30010'])['node-port-range'], {
    min: 30_000,
    max: 30_010,
  });
});
