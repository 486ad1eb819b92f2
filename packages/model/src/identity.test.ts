import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identityCandidates, maxClusterIdentity, minClusterIdentity, reservedIdentityRows } from './identity.ts';
import { defaultLabelFilter } from './label-filter.ts';
import { labelsKey } from './labels.ts';
import { securityLabels } from './security-labels.ts';

test('security labels say who the pod is, not which of its replicas it is', () => {
  const labels = securityLabels({
    namespace: 'shop',
    podLabels: {
      app: 'web',
      'app.kubernetes.io/name': 'web',
      'pod-template-hash': '12345',
      'controller-revision-hash': 'x',
      'statefulset.kubernetes.io/pod-name': 'web-0',
      'topology.kubernetes.io/zone': 'a',
      'io.kubernetes.foo': 'x',
    },
    namespaceLabels: { 'kubernetes.io/metadata.name': 'shop', team: 'blue' },
    serviceAccount: 'default',
    cluster: 'default',
  });
  assert.deepEqual(labels, {
    'k8s:app': 'web',
    'k8s:app.kubernetes.io/name': 'web',
    'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': 'shop',
    'k8s:io.cilium.k8s.namespace.labels.team': 'blue',
    'k8s:io.cilium.k8s.policy.cluster': 'default',
    'k8s:io.cilium.k8s.policy.serviceaccount': 'default',
    'k8s:io.kubernetes.pod.namespace': 'shop',
  });
});

for (const [key, expected] of [
  ['app', true],
  ['example.com/role', true],
  ['annotation.foo', false],
  ['beta.kubernetes.io/arch', false],
  ['apps.kubernetes.io/pod-index', false],
] as const) {
  test(`label ${key} ${expected ? 'counts' : 'does not count'}`, () =>
    assert.equal(defaultLabelFilter.keeps('k8s', key), expected));
}

test('candidates: every cluster identity once, the same for equal sets in whatever order, others for other sets', () => {
  const candidates = [...identityCandidates({ 'k8s:a': '1', 'k8s:b': '2' })];
  assert.equal(new Set(candidates).size, maxClusterIdentity - minClusterIdentity + 1);
  assert.ok(candidates.every(id => id >= minClusterIdentity && id <= maxClusterIdentity));
  const first = (labels: Readonly<Record<string, string>>) => identityCandidates(labels).next().value;
  assert.equal(first({ 'k8s:b': '2', 'k8s:a': '1' }), candidates[0]);
  const firsts = new Set(Array.from({ length: 1000 }, (_, i) => first({ 'k8s:app': `app-${i}` })));
  assert.ok(firsts.size > 950, `${firsts.size} of 1000 sets begin at a number of their own`);
});

test('reserved identities have the numbers of the field', () => {
  const byId = new Map(reservedIdentityRows().map(row => [row.id, labelsKey(row.labels)]));
  assert.equal(byId.get(1), 'reserved:host');
  assert.equal(byId.get(6), 'reserved:remote-node');
  assert.equal(byId.size, 11);
});
