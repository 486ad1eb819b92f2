/** The rule sets of kube-proxy's modes: whole in themselves, and measured where the issue says, on the last service. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { iptablesChange, iptablesRules } from './iptables-rules.ts';
import { nftablesChange, nftablesRules } from './nftables-rules.ts';
import { benchServices, serviceCidr } from './spec.ts';

const podCidr = '10.1.0.0/16';
const place = { nodeIp: '192.168.77.1', podCidr, serviceCidr };
const services = benchServices(50, '10.1.1.3', '10.1.2.3');

test('iptables: each chain that is jumped to is made; the measured services are looked for last', () => {
  const lines = iptablesRules(services.all, podCidr).split('\n');
  const chains = new Set(lines.flatMap(line => /^:(\S+) /.exec(line)?.[1] ?? []));
  for (const line of lines) {
    const target = / -j (KUBE-\S+)/.exec(line)?.[1];
    if (target !== undefined) assert.ok(chains.has(target), line);
  }
  const portals = lines.filter(line => line.startsWith('-A KUBE-SERVICES') && line.includes('-d 10.'));
  assert.equal(portals.length, 50);
  assert.match(portals.at(-1) ?? '', new RegExp(` -d ${services.remote.clusterIp}/32 `));
  assert.match(lines.filter(line => line.startsWith('-A KUBE-SERVICES')).at(-1) ?? '', /addrtype --dst-type LOCAL/);
});

test('iptables: comments as long as there are no more than 1,000 endpoints', () => {
  const comments = (count: number) =>
    (iptablesRules(benchServices(count, '10.1.1.3', '10.1.2.3').all, podCidr).match(/--comment "default/g) ?? [])
      .length;
  assert.ok(comments(250) > 0);
  assert.equal(comments(251), 0);
});

test('iptables: a change writes all portals and the chains of one service', () => {
  const text = iptablesChange(services.all, services.local, podCidr);
  assert.equal(text.match(/^:KUBE-SVC-/gm)?.length, 1);
  assert.equal(text.match(/^:KUBE-SEP-/gm)?.length, 4);
  assert.equal(text.match(/^-A KUBE-SERVICES .* -d 10\./gm)?.length, 50);
});

test('nftables: a map of endpoints for each service, sets in whole lists, hairpins for pods of the node alone', () => {
  const [, text = ''] = nftablesRules(services.all, place);
  assert.equal(text.match(/numgen random mod 4 map/g)?.length, 50);
  assert.equal(text.match(/^add element .* service-ips/gm)?.length, 1);
  assert.equal(text.match(/ : goto service-/g)?.length, 50);
  assert.equal(/hairpin-connections \{ (.*) \}/.exec(text)?.[1]?.split(', ').length, 4);
  assert.match(nftablesChange(services.local), /^add chain .*\nflush chain .*\nadd rule .*\n$/);
});
