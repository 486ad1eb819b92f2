import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentOptions } from './agent-options.ts';
import { parseOptions } from './parse.ts';
import { overruledOptions, withServiceOnly } from './service-only.ts';

const parse = (...argv: readonly string[]) => parseOptions(agentOptions, argv);

test('without --service-only options stay as they are', () => {
  const options = parse('--enable-policy', 'always', '--cni-conf-dir', '/etc/cni/net.d');
  assert.equal(withServiceOnly(options), options);
  assert.deepEqual(overruledOptions(options), []);
});

test('with it nothing of pods is on, and what was asked for in vain is named', () => {
  const options = parse('--service-only', '--cni-conf-dir', '/etc/cni/net.d', '--enable-host-firewall');
  const effective = withServiceOnly(options);
  assert.equal(effective['routing-mode'], 'native');
  assert.equal(effective['enable-bpf-masquerade'], false);
  assert.equal(effective['enable-policy'], 'never');
  assert.equal(effective['enable-host-firewall'], false);
  assert.equal(effective['cni-conf-dir'], '');
  assert.equal(effective['bpf-lb-algorithm'], options['bpf-lb-algorithm']);
  assert.deepEqual([...overruledOptions(options)].sort(), ['cni-conf-dir', 'enable-host-firewall']);
});
