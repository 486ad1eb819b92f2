/** What a NetworkPolicy may say, beside what its API server has seen to: a line a case, with the field that an error names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Parsed } from '../k8s/parsed.ts';
import { networkPolicyFromK8s } from './network-policy.ts';
import type { PolicyRow } from './rows.ts';

const policy = (spec: object): Parsed<PolicyRow> =>
  networkPolicyFromK8s({ metadata: { namespace: 'shop', name: 'p' }, spec });
const from = (...peers: readonly object[]) => policy({ podSelector: {}, ingress: [{ from: peers }] });
const on = (...ports: readonly object[]) => policy({ podSelector: {}, ingress: [{ ports }] });

const refused: readonly (readonly [name: string, parsed: Parsed<PolicyRow>, field: string])[] = [
  ['no name', networkPolicyFromK8s({ spec: {} }), 'metadata.name'],
  ['a type that is none', policy({ policyTypes: ['ingress'] }), 'spec.policyTypes[0]'],
  ['a field that is none', policy({ selector: {} }), 'spec.selector'],
  ['a peer of nothing', from({}), 'spec.ingress[0].from[0]'],
  [
    'a block beside a selector',
    from({ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }),
    'spec.ingress[0].from[0].ipBlock',
  ],
  ['a block without length', from({ ipBlock: { cidr: '10.0.0.1' } }), 'spec.ingress[0].from[0].ipBlock.cidr'],
  [
    'an exception outside',
    from({ ipBlock: { cidr: 'fd00::/8', except: ['fe00::/9'] } }),
    'spec.ingress[0].from[0].ipBlock.except[0]',
  ],
  [
    'a label that is none',
    from({ podSelector: { matchLabels: { 'a/b/c': 'd' } } }),
    'spec.ingress[0].from[0].podSelector.matchLabels.a/b/c',
  ],
  ['a protocol that is none', on({ port: 80, protocol: 'tcp' }), 'spec.ingress[0].ports[0].protocol'],
  ['an end without port', on({ endPort: 90 }), 'spec.ingress[0].ports[0].endPort'],
  ['an end beside a name', on({ port: 'http', endPort: 90 }), 'spec.ingress[0].ports[0].endPort'],
  ['an end below the port', on({ port: 90, endPort: 80 }), 'spec.ingress[0].ports[0].endPort'],
  ['a port too high', on({ port: 65_536 }), 'spec.ingress[0].ports[0].port'],
];
for (const [name, parsed, field] of refused) {
  test(`refused: ${name}`, () => {
    assert.ok('error' in parsed, 'it is taken');
    assert.equal(parsed.error.field, field);
    assert.notEqual(parsed.error.remedy, '');
  });
}

test('which directions it isolates', () => {
  const isolates = (spec: object) => {
    const parsed = policy({ podSelector: {}, ...spec });
    assert.ok('row' in parsed, JSON.stringify(parsed));
    const [rule] = parsed.row.rules;
    return `${rule?.isolates.ingress} ${rule?.isolates.egress} ${rule?.ingress.length} ${rule?.egress.length}`;
  };
  assert.equal(isolates({}), 'true false 0 0');
  assert.equal(isolates({ egress: [{}] }), 'true true 0 1');
  assert.equal(isolates({ egress: [] }), 'true false 0 0');
  assert.equal(isolates({ policyTypes: ['Egress'], ingress: [{}] }), 'false true 0 0');
  assert.equal(isolates({ policyTypes: ['Ingress'], egress: [{}], ingress: [{}] }), 'true false 1 0');
  assert.equal(isolates({ policyTypes: ['Ingress', 'Egress'] }), 'true true 0 0');
  assert.equal(isolates({ policyTypes: [] }), 'true false 0 0');
});

test('lists that are empty or absent restrict nothing', () => {
  for (const rule of [{}, { from: [], ports: [] }, { from: null, ports: null }]) {
    const parsed = policy({ podSelector: {}, ingress: [rule] });
    assert.ok('row' in parsed, JSON.stringify(parsed));
    assert.deepEqual(
      [parsed.row.rules[0]?.ingress[0]?.peers, parsed.row.rules[0]?.ingress[0]?.ports],
      [undefined, undefined],
    );
  }
});
