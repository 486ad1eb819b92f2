/** The rule sets of the peers: what iptables-restore would refuse shows here, without root. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calicoRules } from './calico-rules.ts';
import { kubeRouterRules } from './kube-router-rules.ts';
import { allowedPort, benchRules, policyObject } from './spec.ts';

const writers = { calico: calicoRules, 'kube-router': kubeRouterRules };
const builtIn = ['INPUT', 'FORWARD', 'OUTPUT', 'PREROUTING'];
const targets = ['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'MARK', 'NFLOG'];

for (const [name, write] of Object.entries(writers)) {
  test(`${name}: each chain that is written to or jumped to is made, each set is there`, () => {
    const { sets, tables } = write(benchRules(10));
    const lines = tables.split('\n');
    const chains = new Set([...builtIn, ...lines.flatMap(line => /^:(\S+) /.exec(line)?.[1] ?? [])]);
    for (const line of lines.filter(one => one.startsWith('-A'))) {
      const [, chain = ''] = line.split(' ');
      const target = / -[jg] (\S+)/.exec(line)?.[1] ?? '';
      assert.ok(chains.has(chain), line);
      assert.ok(chains.has(target) || targets.includes(target), line);
    }
    const made = new Set([...sets.matchAll(/^create (\S+)/gm)].map(match => match[1]));
    for (const [, set = ''] of tables.matchAll(/--match-set (\S+)/g)) assert.ok(made.has(set), set);
    for (const chain of chains) assert.ok(chain.length < 29, `${chain} is longer than iptables takes`);
  });

  test(`${name}: a rule of the policy is two rules, the last for the client's port`, () => {
    const count = (rules: number) =>
      write(benchRules(rules)).tables.match(/^-A (cali-pi|KUBE-NWPLCY-[A-Z2-7]{16})/gm)?.length;
    assert.equal(count(1000), 2000);
    const last = write(benchRules(3))
      .tables.split('\n')
      .filter(line => /dports? /.test(line) && line.includes('match-set'));
    assert.match(last.at(-1) ?? '', new RegExp(`dports? ${allowedPort} `));
  });
}

test('as many ingress rules in the object that we get', () => {
  const { spec } = policyObject(benchRules(1000)) as { spec: { ingress: readonly object[] } };
  assert.equal(spec.ingress.length, 1000);
  assert.deepEqual(spec.ingress.at(-1), {
    from: [{ podSelector: { matchLabels: { app: 'client' } } }],
    ports: [{ protocol: 'TCP', port: allowedPort }],
  });
});
